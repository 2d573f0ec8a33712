"""The tables of a run: printed for who waits for them, and kept as `table.md`."""

from collections.abc import Mapping, Sequence
from typing import Any

from cnnjax.files import write_atomic
from cnnjax.runs import RunDirectory, Table, markdown, print_table
from cnnjax.sweep.cell import Outcome


def show_tables(
    run: RunDirectory, tables: Sequence[Table], outcomes: Mapping[str, Outcome] | None = None, *, note: str = ""
) -> None:
    """Print the tables, below them `note` and which of the cells failed, and write all of that to `table.md`."""
    texts = []
    for table in tables:
        form: dict[str, Any] = dict(caption=table.caption, percent=table.percent, digits=table.digits)
        print_table(table.rows, title=table.title, **form)
        texts.append(f"**{table.title}**\n\n{markdown(table.rows, **form)}")
    failures = [f"{name} failed: {outcome.failure}" for name, outcome in (outcomes or {}).items() if outcome.failure]
    print("".join(f"{line}\n" for line in filter(None, [note, *failures])), end="")
    write_atomic(run.path / "table.md", "\n".join([*texts, *([f"{note}\n"] if note else []), *failures]))
