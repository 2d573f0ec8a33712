"""The tables of a run: printed for who waits for them, and kept as `table.md` to read and `tables.json` as data."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.files import read_json, write_atomic
from cnnjax.runs.begun import TABLES
from cnnjax.runs.page import Table
from cnnjax.runs.run_directory import RunDirectory
from cnnjax.runs.table import markdown, print_table
from cnnjax.stats.intervals import Interval


@checked()
def show_tables(run: RunDirectory, tables: Sequence[Table], *, notes: Sequence[str] = ()) -> None:
    """Print the tables, and the notes below them; write all of that to `table.md`, and to `tables.json` as data.

    Raises InputError for a table without rows.
    """
    texts = []
    for table in tables:
        form: dict[str, Any] = dict(caption=table.caption, percent=table.percent, digits=table.digits)
        print_table(table.rows, title=table.title, **form)
        texts.append(f"**{table.title}**\n\n{markdown(table.rows, **form)}")
    print("".join(f"{note}\n" for note in notes), end="")
    document = {"tables": [_encoded(table) for table in tables], "notes": list(notes)}
    write_atomic(run.path / TABLES, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_atomic(run.path / "table.md", "\n".join([*texts, *(f"{note}\n" for note in notes)]))


def read_tables(file: Path) -> tuple[list[Table], list[str]]:
    """The tables and the notes of a run's `tables.json`; raises InputError for a file that is damaged."""
    remedy = "let the run's command write it again"
    document = read_json(file, remedy)
    try:
        tables, notes = [_decoded(table) for table in document["tables"]], document["notes"]
        if not all(isinstance(note, str) for note in notes):
            raise TypeError("a note is not text")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is damaged ({type(error).__name__}: {error}): {remedy}") from error
    return tables, notes


def _encoded(table: Table) -> dict[str, Any]:
    rows = table.rows if isinstance(table.rows, Sequence) else table.rows.to_dict("records")
    return {
        "title": table.title,
        "caption": table.caption,
        "percent": table.percent if isinstance(table.percent, bool) else [str(name) for name in table.percent],
        "digits": table.digits,
        "rows": [{str(name): _plain(value) for name, value in row.items()} for row in rows],
    }


def _plain(value: Any) -> Any:
    """A cell as JSON; null for a number that is not finite."""
    if isinstance(value, Interval):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value if isinstance(value, int | None) else str(value)


def _decoded(table: dict[str, Any]) -> Table:
    texts, digits, percent = (table["title"], table["caption"]), table["digits"], table["percent"]
    rows = [{name: _cell(value) for name, value in row.items()} for row in table["rows"]]
    if not rows or not all(isinstance(text, str) for text in texts) or not isinstance(digits, int):
        raise TypeError("it has no rows, or titles and digits of another kind")
    if not isinstance(percent, bool) and not set(percent) <= {name for row in rows for name in row}:
        raise ValueError("percent names what is no column")
    return Table(rows, *texts, percent=percent, digits=digits)


def _cell(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    parts: dict[str, Any] = {name: math.nan if part is None else part for name, part in value.items()}
    found = Interval(**parts)
    if not all(isinstance(part, int | float) for part in (*found[:4], found.level)):
        raise TypeError("the parts of an interval are not numbers")
    return found
