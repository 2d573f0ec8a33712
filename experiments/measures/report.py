"""From what measures say of functions to tables: what is true, what ranks rightly, and where it does not."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cnnjax.figures import save
from cnnjax.runs import RunDirectory, Table, show_tables
from experiments.measures import figures
from experiments.measures.families import Family
from experiments.measures.functions import FUNCTIONS
from experiments.measures.ranks import MEASURES, Found, Rank, has_generator, ranks

MARKS = {"exact": "yes", "no": "no", "mixes": "mixes", "nearly": "nearly"}
SHOWN = ("LEE", "Lie", "at border", "Lie, function", "error")
"""Columns of the table of single functions."""


def write(run: RunDirectory, found: Found, families: Sequence[Family], *, images: int) -> None:
    """Print the tables and write them, `summary.csv`, `ranks.csv` and the figures."""
    import pandas as pd

    rows = ranks(found, families)
    canvases, groups = list(dict.fromkeys(side for side, _ in found)), _groups(found)
    run.write_table("summary", pd.DataFrame(_values(found)))
    run.write_table("ranks", pd.DataFrame([_flat(row) for row in rows]))
    about = f"{images} images in {groups} groups, each measured by itself: the n of an interval counts groups."
    tables = [_truth(list(dict.fromkeys(name for _, name in found)), families)]
    for canvas in canvases:
        tables += _of_canvas([row for row in rows if row.canvas == canvas], canvas, families, about)
    if "rotation" in families:
        tables.append(_functions(found, canvases))
    if rows:  # of functions that are all exact, or all ignore their input, nothing is ranked
        tables.append(_when(rows, found, canvases, families))
    show_tables(run, tables)
    if rows:
        save(figures.ranks_figure(rows, families), run.figures / "ranks.png")
    for family in families:
        save(figures.values_figure(found, family), run.figures / f"{family.replace(' ', '_')}.png")


def _groups(found: Found) -> int:
    of = next(iter(next(iter(found.values())).values()))
    return len(next(iter(of.values())))


def _values(found: Found) -> Iterator[dict[str, Any]]:
    """Every number, a row for each: by cell and group, as seeds are elsewhere."""
    for (canvas, function), families in found.items():
        for family, measures in families.items():
            for measure, numbers in measures.items():
                for group, value in enumerate(numbers):
                    row = {"canvas": canvas, "function": function, "family": family, "measure": measure}
                    yield row | {"truth": FUNCTIONS[function].truth[family], "group": group, "value": value}


def _flat(rank: Rank) -> dict[str, Any]:
    row = {"canvas": rank.canvas, "family": rank.family, "measure": rank.measure}
    for name in ("auc", "margin"):
        value = getattr(rank, name)
        row |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
    return row | {name: getattr(rank, name) for name in ("exact", "other", "worst_exact", "best_other")}


def _truth(functions: Sequence[str], families: Sequence[Family]) -> Table:
    rows = [
        {"function": name, **{family: MARKS[FUNCTIONS[name].truth[family]] for family in families}}
        | {"what it is": FUNCTIONS[name].about}
        for name in functions
    ]
    caption = (
        "Whether f(T x) = T f(x). mixes: after a linear map of the channels, which counts as equivariant for fitted "
        "maps and CKA only. nearly: but for the aliasing of rectifiers; not ranked. The constant ignores its input and "
        "is not ranked."
    )
    return Table(rows, "What is true", caption)


def _of_canvas(rows: Sequence[Rank], canvas: int, families: Sequence[Family], about: str) -> list[Table]:
    if not rows:
        return []
    by = {(row.measure, row.family): row for row in rows}
    counts = {row.family: f"{row.exact} and {row.other}" for row in rows if row.measure == "error"}
    among = "; ".join(f"{family} {count}" for family, count in counts.items())
    captions = {
        "auc": f"The share of pairs of an exact function and another one that are in the right order: 1 all, 0.5 by "
        f"chance. Exact functions and others: {among}. {about}",
        "margin": "The decimal logarithm of the least value of the others over the greatest of the exact functions: "
        f"below 0, one is inverted. Values below rounding, 1e-6, count as that. {about}",
    }
    titles = {
        "auc": f"Ranked rightly on {canvas}² pixels",
        "margin": f"By how many decimal powers, on {canvas}² pixels",
    }
    tables = []
    for name, caption in captions.items():
        lines = []
        for measure, title in MEASURES.items():
            cells = {family: by.get((measure, family)) for family in families}
            if any(cells.values()):
                lines.append(
                    {"measure": title, **{f: None if c is None else getattr(c, name) for f, c in cells.items()}}
                )
        tables.append(Table(lines, titles[name], caption, digits=2 if name == "auc" else 1))
    return tables


def _functions(found: Found, canvases: Sequence[int]) -> Table:
    names = sorted(
        dict.fromkeys(name for _, name in found), key=lambda name: FUNCTIONS[name].truth["rotation"] != "exact"
    )
    rows = []
    for name in names:
        row: dict[str, Any] = {"function": name, "exact": MARKS[FUNCTIONS[name].truth["rotation"]]}
        for canvas in canvases:
            of = found[canvas, name]["rotation"] if (canvas, name) in found else {}
            row |= {f"{measure}, {canvas}²": _short(of.get(measure)) for measure in SHOWN}
        rows.append(row)
    caption = (
        "LEE: as published, in the units of the maps. Lie: over the size of the maps; at border: how fast the picture "
        "moves at the border, on the same scale; function: what is left with a margin. Error: of a turn by 30°."
    )
    return Table(rows, "Under rotation, function by function", caption)


def _short(numbers: Sequence[float | None] | None) -> str:
    values = [value for value in numbers or () if value is not None]
    return f"{np.mean(values):.2g}" if values else "–"


def _when(rows: Sequence[Rank], found: Found, canvases: Sequence[int], families: Sequence[Family]) -> Table:
    """Where each measure ranks all functions rightly, where worst, and what it says of a constant."""
    lines = []
    for measure, title in MEASURES.items():
        mine = [row for row in rows if row.measure == measure]
        if not mine:
            continue
        line: dict[str, Any] = {"measure": title}
        for canvas in canvases:
            of = [row.family for row in mine if row.canvas == canvas and row.rightly]
            line[f"all rightly, {canvas}²"] = ", ".join(of) or "–"
        worst = min(mine, key=lambda row: (row.auc.mean, row.margin.mean))
        pair = f"{worst.worst_exact} above {worst.best_other}: {worst.family}, {worst.canvas}²"
        line["its worst pair"] = "–" if all(row.rightly for row in mine) else pair
        blind = [
            family for family in families if measure in ("LEE", "Lie", "Lie, function") and not has_generator(family)
        ]
        line["says nothing of"] = ", ".join(blind) or "–"
        line["of a constant"] = _of_constant(found, measure)
        lines.append(line)
    caption = "All rightly: every exact function below every other one, in every group of images."
    return Table(lines, "Which measure when", caption)


def _of_constant(found: Found, measure: str) -> str:
    """What a measure says of functions that ignore their input: it has no number, 0, or another one."""
    numbers = [
        value
        for (_, function), families in found.items()
        if FUNCTIONS[function].ignores
        for measures in families.values()
        for value in measures.get(measure, ())
    ]
    if not numbers:
        return "–"
    if None in numbers:
        return "no number"
    most = max(value for value in numbers if value is not None)
    return "perfect" if most < 1e-5 else f"0 to {most:.2g}"
