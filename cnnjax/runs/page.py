"""Results as one HTML file: it opens without a network, carries its pictures, and shows text as text."""

import base64
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.files import read_file, write_atomic
from cnnjax.runs.table import Percent, as_text

if TYPE_CHECKING:
    import jinja2
    import pandas

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows as `print_table` takes them, and shows them: the first column labels the rows."""

    rows: "pandas.DataFrame | Sequence[Mapping[str, Any]]"
    title: str = ""
    caption: str = ""
    """What it shows; what ± means and how large n is follow by themselves."""
    percent: Percent = ()
    """The columns whose fractions are shown in percent; True: all."""
    digits: int = 1
    """Digits after their point."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG, by its path or its bytes."""

    png: Path | bytes
    caption: str = ""
    alt: str = ""
    """What it shows, for who cannot see it; by default the caption."""


@dataclasses.dataclass(frozen=True)
class Code:
    """Text whose spaces and lines count: a command, a configuration."""

    text: str


Block = str | Table | Picture | Code
"""What a section is made of; a `str` is a paragraph."""


@dataclasses.dataclass(frozen=True)
class Section:
    """A titled part of a page."""

    title: str
    blocks: Sequence[Block]
    folded: bool = False
    """Shown as a title only, until it is opened."""


@checked()
def write_page(path: Path, title: str, sections: Sequence[Section], *, about: str = "") -> None:
    """Write a page with `title`, a paragraph `about` it, and `sections`, whole or not at all.

    The file refers to nothing outside itself, and its own policy forbids a browser to fetch or to run anything.
    Raises InputError for a page without sections, a table without rows, and a picture that is absent or no PNG.
    """
    if not sections:
        raise InputError(f"The page {path} has no sections; give at least one.")
    shown = [
        {"title": section.title, "folded": section.folded, "blocks": [_shown(block) for block in section.blocks]}
        for section in sections
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _template().render(title=title, about=about, sections=shown)
    write_atomic(path, text.encode(errors="backslashreplace"))  # JSON can hold halves of letters, and UTF-8 cannot


@functools.cache
def _template() -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(Path(__file__).with_name("page.html.jinja").read_text(encoding="utf-8"))


def _shown(block: Block) -> dict[str, Any]:
    if isinstance(block, str):
        return {"kind": "text", "text": block}
    if isinstance(block, Code):
        return {"kind": "code", "text": block.text}
    if isinstance(block, Picture):
        encoded = base64.b64encode(_png(block.png)).decode("ascii")
        return {"kind": "picture", "base64": encoded, "caption": block.caption, "alt": block.alt or block.caption}
    header, body, meaning = as_text(block.rows, percent=block.percent, digits=block.digits)
    caption = " ".join(filter(None, [block.caption, meaning]))
    return {"kind": "table", "title": block.title, "header": header, "body": body, "caption": caption}


def _png(source: Path | bytes) -> bytes:
    name = source if isinstance(source, Path) else "A picture"
    content = read_file(source, "draw the picture again, or leave it out") if isinstance(source, Path) else source
    if not content.startswith(_PNG):
        raise InputError(f"{name} is no PNG (it begins with {content[:8]!r}); save it as one, with `figures.save`.")
    return content
