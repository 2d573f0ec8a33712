"""Pages that are made of other files: one of the reference for each public module, and the documents beside the code.

mkdocs calls `on_config` and `on_files`. A public module has an `__all__` or stands in one. Its page is its docstring, a
line for each name that the docstring does not list, and each name's own documentation.
"""

import posixpath
import re
from pathlib import Path

import griffe
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]

DOCUMENTS = {
    "README.md": "readme.md",
    "experiments/README.md": "experiments.md",
    "experiments/benchmarks/README.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the repository that are pages of the site."""

ALSO = ("runtime",)
"""Public modules that have no `__all__`."""

LINK = re.compile(r"(!?)\[([^\[\]]*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
"""A link of Markdown to another file of the repository: a picture's mark, its text, the file and the place in it."""

OUTWARD = re.compile(r"(!?)\[([^\[\]]*)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")
"""Such a link that leads out of the folder."""


def on_config(config):
    """Put the pages of the reference into the navigation."""
    pages = [{name: f"reference/{name}.md"} for name in modules()]
    config.nav = [{"Reference": pages} if entry == "reference" else entry for entry in config.nav]
    return config


def on_files(files, config):
    """Add the pages that are made."""
    made = {f"reference/{name}.md": reference(name, module) for name, module in modules().items()}
    for source, page in DOCUMENTS.items():
        made[page] = relinked((ROOT / source).read_text(encoding="utf-8"), source)
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Let pages of `docs` link to files beside it, such as notebooks, as they do where the repository is read."""
    source = f"docs/{page.file.src_uri}"
    return relinked(markdown, source, OUTWARD) if (ROOT / source).exists() else markdown


def modules() -> dict[str, griffe.Module]:
    """The public modules by their name within cnnjax."""
    package = griffe.load("cnnjax", search_paths=[ROOT], resolve_aliases=True)
    listed = {name: module for name, module in package.modules.items() if module.exports or name in ALSO}
    inner = {f"{name}.{inner}": found for name, module in listed.items() for inner, found in _inner(module).items()}
    return {"cnnjax": package, **dict(sorted((listed | inner).items()))}


def _inner(module: griffe.Module) -> dict[str, griffe.Module]:
    """The modules that a module lists among its names."""
    return {name: item for name, item in listed(module).items() if item.is_module}


def listed(module: griffe.Module) -> dict[str, griffe.Object | griffe.Alias]:
    """What the module lists in `__all__`, and otherwise what it defines, by name."""
    names = module.exports
    if names is None:
        names = [name for name, item in module.members.items() if not (item.is_alias or name.startswith("_"))]
    return {name: _found(module[name], name) for name in map(str, names)}


def _found(item: griffe.Object | griffe.Alias, name: str) -> griffe.Object | griffe.Alias:
    """The function of a name, where a file has that name too."""
    return item[name] if item.is_module and name in item.members else item


def reference(page: str, module: griffe.Module) -> str:
    """The page of a module: its docstring with links to the names that it lists, the other names, and each in full."""
    about = module.docstring.value if module.docstring else ""
    items = {name: item for name, item in listed(module).items() if not item.is_module}
    missing = []
    for name, item in items.items():
        about, count = re.subn(rf"(?<!\[)`{name}`", f"[`{name}`](#{item.path})", about, count=1)
        if not count:
            missing.append(f"| [`{name}`](#{item.path}) | {summary(item)} |")
    table = ["| name | |", "| --- | --- |", *missing, ""] if missing else []
    inner = [f"- [`{name}`]({page}.{name}.md): {summary(found)}" for name, found in _inner(module).items()]
    return "\n".join([f"# {page}", about, "", *table, *inner, "", *(f"::: {item.path}\n" for item in items.values())])


def summary(item: griffe.Object | griffe.Alias) -> str:
    """The first sentence of a docstring, or the value of what has none, on one line of a table."""
    if item.docstring:
        text = re.split(r"(?<=[.?])\s|\n\n", " ".join(item.docstring.value.split("\n")), maxsplit=1)[0]
    else:
        text = f"`{' '.join(str(item.value).split())}`"
    return text.replace("|", "\\|")


def relinked(text: str, source: str, link: re.Pattern[str] = LINK) -> str:
    """`text` of a file of the repository, with its links as they are between the pages of the site.

    What has no page is named in place of the link. Raises PluginError for a link to a file that is not there.
    """

    def replace(found: re.Match[str]) -> str:
        mark, label, target, place = found.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (ROOT / path).exists():
            raise PluginError(f"{source} links to {target}, which is not there")
        index = posixpath.join(path, "README.md")
        page = DOCUMENTS.get(path) or DOCUMENTS.get(index)
        if page is None and path.startswith("docs/"):
            page = path.removeprefix("docs/")
        return f"{mark}[{label}]({page}{place or ''})" if page else f"{label} (`{path}`)"

    return link.sub(replace, text)
