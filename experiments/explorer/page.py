"""The explorer as one file: template, style, scripts and data together, which opens without a network."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnnjax.files import write_atomic

FOLDER = Path(__file__).parent / "page"
SCRIPTS = (
    *("data", "arrays", "operations", "tape", "padding", "warp", "elements", "grid", "colors"),
    *("pictures", "terms", "sums", "sliding", "fields", "scores", "curve", "moving", "matrices", "main"),
)
"""The scripts in their order, each of one idea."""


def write_explorer(path: Path, title: str, about: str, document: Mapping[str, Any]) -> None:
    """Write the page, whole or not at all.

    Its policy lets the browser run and draw with nothing but the script and the style that are in it, by their digests,
    and fetch nothing: text of a run or a file's name can do no more than be shown.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_read("explorer.html.jinja"))
    style, script = _read("explorer.css"), script_text()
    text = template.render(
        title=title,
        about=about,
        style=Markup(style),
        style_digest=_digest(style),
        script=Markup(script),
        script_digest=_digest(script),
        data=Markup(in_script(document)),
    )
    write_atomic(path, text.encode(errors="backslashreplace"))


def script_text() -> str:
    """All scripts as one, with names of its own."""
    parts = "\n".join(_read(f"{name}.js") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def in_script(document: Mapping[str, Any]) -> str:
    """JSON that can stand in a script element: nothing in it ends the element or begins another."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))  # ASCII: halves of letters are escapes
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
