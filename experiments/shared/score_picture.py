"""The picture of a run's scores: accuracy, worst case and consistency of every cell, on the scale of all runs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cnnjax.figures import score_dots
from cnnjax.runs.records import read_table
from cnnjax.sweep.cells import Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "test.accuracy": "accuracy, untransformed",
    "shift_zero.mean_accuracy": "accuracy, shifted",
    "shift_zero.worst_accuracy": "worst case, shifted",
    "shift_zero.consistency": "consistency, shifted",
    "rotation.mean_accuracy": "accuracy, rotated",
    "rotation.worst_accuracy": "worst case, rotated",
    "rotation.consistency": "consistency, rotated",
}


def score_picture(
    of: Sweep, *, labels: Mapping[str, str] | None = None, palette: Mapping[str, str] | None = None
) -> "Figure":
    """Those of `TITLES` that `scores.csv` has, from 0 to 100 % with chance, each with its interval over seeds.

    `labels` say what cells are called there, by cell.
    """
    table = read_table(of.run.path / "scores.csv")
    rows: Any = table[table["score"].isin(TITLES)]
    labels = labels or {}
    dots = rows.assign(
        score=rows["score"].map(TITLES), n=rows["seeds"], cell=[labels.get(cell, cell) for cell in rows["cell"]]
    )
    fewest = int(rows["images"].min())
    note = f"{of.dataset.name}: {len(of.dataset.test.labels):,} test images"
    if fewest < len(of.dataset.test.labels):
        note += f", {fewest:,} of them under transforms"
    title = "Accuracy, worst case and consistency"
    return score_dots(dots, title=title, note=f"{note}.", palette=palette, chance=of.dataset.chance)
