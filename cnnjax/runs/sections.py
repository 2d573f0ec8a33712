"""A run directory as sections of a page: what it found, how, with which settings, and by which command."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.errors import InputError
from cnnjax.files import printable
from cnnjax.runs.begun import TABLES
from cnnjax.runs.page import Block, Code, Picture, Section, Table
from cnnjax.runs.records import read_config, read_summary, read_table
from cnnjax.runs.settings import identity
from cnnjax.runs.tables import read_tables
from cnnjax.stats import over_seeds
from cnnjax.stats.intervals import describe_methods, method_over_seeds

if TYPE_CHECKING:
    import pandas as pd

ROWS, COLUMNS = 100, 200
"""Of a file's table that are shown at most."""

SCORED = 2000
"""Rows of a summary whose scores are shown over seeds at most."""


def sections_of(run: Path) -> list[Section]:
    """The sections of a run: its tables and figures, its scores over seeds, its files, its making.

    Files that are links to others outside the run are left out. Raises InputError for what is not a run, one that has
    neither tables nor figures yet, and a damaged file.
    """
    config = read_config(run)
    found: list[Section] = []
    blocks = _tables(run)
    pictures = [*_files(run, "*.png"), *_files(run, "figures/**/*.png")]
    if pictures:
        captions = [printable(file.stem).replace("_", " ").replace("-", " ") for file in pictures]
        found.append(Section("Figures", [Picture(*pair) for pair in zip(pictures, captions, strict=True)]))
    tables = _files(run, "*.csv")
    if run / "summary.csv" in tables:
        found += _scores(read_summary(run), _images(run / "scores.csv") if run / "scores.csv" in tables else {})
    for file in tables:
        found.append(Section(printable(file.name), [_rows(file)], folded=True))
    if found and not blocks:
        blocks = ["This run has no tables. Where it has grown and is not finished, all below is of what it was before."]
    if blocks:
        found.insert(0, Section("Results", blocks))
    if not found:
        raise InputError(
            f"{run} has neither tables nor figures yet; let its command come to its end: {config['command']}"
        )
    return [*found, settings_section(config), making_section(config)]


def _files(run: Path, pattern: str) -> list[Path]:
    return sorted(file for file in run.glob(pattern) if file.resolve().is_relative_to(run.resolve()))


def _tables(run: Path) -> list[Block]:
    """What `show_tables` kept; of long tables the first rows."""
    if file := _files(run, TABLES):
        tables, notes = read_tables(file[0])
        return [*map(_beginning, tables), *notes]
    if _files(run, "table.md"):
        return [f"This run keeps its tables as text only, in table.md; its command, run again, writes {TABLES} too."]
    return []


def _beginning(table: Table) -> Table:
    if len(table.rows) <= ROWS:
        return table
    cut = f"The first {ROWS} of {len(table.rows)} rows; the file has them all."
    return dataclasses.replace(table, rows=table.rows[:ROWS], caption=f"{table.caption} {cut}".strip())


def _images(file: Path) -> dict[tuple[str, str], int]:
    """Over how many images each cell's scores are means, from `scores.csv`."""
    import pandas as pd

    frame = read_table(file)
    if not {"cell", "score", "images"} <= set(frame.columns):
        return {}
    images: Any = pd.to_numeric(frame["images"], errors="coerce")
    pairs = zip(frame["cell"].astype(str), frame["score"].astype(str), images, strict=True)
    return {(cell, score): int(n) for cell, score, n in pairs if 1 <= n < np.inf}


def _scores(summary: "pd.DataFrame", images: Mapping[tuple[str, str], int]) -> list[Section]:
    """Every score of a summary with cells and seeds, over the seeds; nothing for a summary of another kind."""
    numbers = summary.select_dtypes("number").columns.drop("seed", errors="ignore")
    if not {"cell", "seed"} <= set(summary.columns) or not len(numbers):
        return []
    if len(summary) > SCORED or len(numbers) > COLUMNS:
        many = f"summary.csv has {len(summary)} rows and {len(numbers)} scores: too many to show over seeds."
        return [Section("Every score, over seeds", [many], folded=True)]
    by_cell = {str(cell): frame for cell, frame in summary.groupby("cell", sort=False)}
    if not by_cell:
        return []
    values = {
        cell: {score: _over_seeds(frame[score].to_numpy(), images.get((cell, score))) for score in numbers}
        for cell, frame in by_cell.items()
    }
    if len(values) > len(numbers):
        rows = [{"cell": cell, **scores} for cell, scores in values.items()]
    else:
        rows = [{"score": score, **{cell: values[cell][score] for cell in values}} for score in numbers]
    counts = {len(frame) for frame in by_cell.values()}
    n = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
    kinds = describe_methods(method_over_seeds(count) for count in counts)
    caption = (
        f"±: half the width of the 95 % {kinds} interval over n = {n} seeds; ≥, ≤: the 95 % bound by the number of "
        "images, all of which count, or none; as measured, not in percent."
    )
    return [Section("Every score, over seeds", [Table(rows, caption=caption)], folded=True)]


def _over_seeds(column: np.ndarray, images: int | None) -> str:
    finite = column[np.isfinite(column)]
    if not len(finite):
        return "–"
    interval = over_seeds(finite, images=images if finite.min() >= 0 and finite.max() <= 1 else None)
    if interval.method == "Clopper-Pearson":
        return f"1 (≥ {interval.low:.4g})" if interval.mean > 0.5 else f"0 (≤ {interval.high:.2g})"
    half = (interval.high - interval.low) / 2
    return f"{interval.mean:.4g}" + (f" ± {half:.2g}{' (n = 2)' * (interval.n == 2)}" if np.isfinite(half) else "")


def _rows(file: Path) -> Block:
    frame = read_table(file, dtype="object", keep_default_na=False)
    if frame.empty:
        return f"{printable(file.name)} has no rows."
    caption = f"The first {ROWS} of {len(frame)} rows; the file has them all." if len(frame) > ROWS else ""
    if len(frame.columns) > COLUMNS:
        caption = f"{caption} The first {COLUMNS} of {len(frame.columns)} columns.".strip()
    shown = frame.iloc[:ROWS, :COLUMNS].to_dict("records")
    rows = [{name: _short(text) for name, text in row.items()} for row in shown]
    return Table(rows, caption=caption)


def _short(text: str) -> str:
    """A number to four digits; other text, and whole numbers, as they stand."""
    if len(text) > 40:
        return text
    if re.fullmatch(r"-?\d*\.\d+(e-?\d+)?|-?\d+(\.\d+)?e[-+]?\d+", text):
        return f"{float(text):.4g}"
    return text or "–"


def settings_section(config: Mapping[str, Any]) -> Section:
    """Every setting of a run, from its `read_config`."""
    rows = [{"setting": name, "value": value} for name, value in identity(config["config"]).items()]
    return Section("Configuration", [Table(rows)] if rows else ["This experiment has no settings."])


def making_section(config: Mapping[str, Any]) -> Section:
    """When, where, with which versions and by which command a run was made, from its `read_config`."""
    blocks: list[Block] = []
    for stage in [config, *config["resumed"]]:
        device, commit = stage["device"], stage["commit"] or "not known"
        where = f"{device['count']} × {device['kind']} ({device['platform']}), {device['cpu']}"
        versions = ", ".join(f"{name} {version}" for name, version in stage["versions"].items() if version)
        begun = "Begun" if stage is config else "Gone on with"
        blocks += [f"{begun} {stage['started']}, on {where}.\n{versions}.\nCommit {commit}.", Code(stage["command"])]
    return Section("Command", blocks)
