"""From networks under sub-pixel shifts to tables and pictures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax import analysis
from cnnjax.data import Dataset
from cnnjax.figures import save, score_dots
from cnnjax.runs import Table, show_tables
from cnnjax.stats import Interval, over_seeds
from cnnjax.sweep.cells import Sweep
from cnnjax.sweep.paired import write_comparisons
from cnnjax.sweep.scores import score_interval, write_scores
from cnnjax.sweep.traced import cost_of
from experiments.shared.fitting import unfitted
from experiments.subpixel.cells import PARTS, Moved, SubpixelPlan
from experiments.subpixel.figures import distance_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORES = {"consistency": "consistency", "accuracy": "mean_accuracy", "worst": "worst_accuracy"}
"""Columns of the tables, and the scores of `analysis.scores` in them."""
COSTS = (
    "Multiply-adds: of one image, forward. A step: of training, one batch. Relative: to the first row's; of times the "
    "median (quartiles) over turns. Measured with circular padding."
)
AIM = 0.98
"""Of half-pixel consistency: what the published alias-free networks have, about."""

Times = Mapping[str, np.ndarray]


def write(
    of: Sweep,
    plans: Sequence[SubpixelPlan],
    moved: Mapping[str, Moved],
    times: Times,
    *,
    max_shift: int,
) -> None:
    """Print the tables and write them, `summary.csv`, `scores.csv`, `comparisons.csv` and the figures.

    The comparisons are of each network with the first of the same padding, seed by seed.
    """
    run, dataset = of.run, of.dataset
    scored = {name: {part: _scores(found, part) for part in PARTS} for name, found in moved.items()}
    more = {name: _numbers(moved[name], parts) for name, parts in scored.items()}
    columns = write_scores(of, more=more)
    first = {plan.padding: plan.cell.name for plan in reversed(plans)}
    pairs = [(plan.cell.name, first[plan.padding]) for plan in plans if plan.cell.name != first[plan.padding]]
    compared = ["test.accuracy", *(f"{part}.{name}" for part in PARTS for name in SCORES)]
    write_comparisons(run, compared, pairs)

    done = [plan for plan in plans if plan.cell.name in moved]
    images = next(iter(moved.values())).columns["whole"]["correct"].shape[1]
    rows = [_row(plan, columns[plan.cell.name], moved[plan.cell.name], images, "consistency") for plan in done]
    about = (
        f"Consistency: the share of circular shifts down and to the right that leave the answer alone; of up to "
        f"{max_shift} px, by whole pixels, by halves that are not all whole, and by quarters that are not all halves, "
        f"all of {images} test images under each. Training: accuracy on the training images as they are. "
        f"{dataset.note.rstrip('.')}."
    )
    right = [_accuracies(plan, columns[plan.cell.name], moved[plan.cell.name], images) for plan in done]
    explained = (
        f"Unmoved: all {len(dataset.test.labels):,} test images. Mean: over the shifts and images above; worst: right "
        "under every one of them and unmoved."
    )
    timed = [plan for plan in done if plan.cell.name in times]
    tables = [
        Table(rows, "Consistency between pixels, in percent", about, percent=True),
        Table(right, "Accuracy under these shifts, in percent", explained, percent=True),
    ]
    if timed:
        tables.append(Table(_costs(timed, times, dataset), "What it costs", COSTS, digits=2))
    fits = {plan.cell.name: moved[plan.cell.name].training_accuracy for plan in done}
    show_tables(run, tables, notes=[_aim(rows), _most(done, moved), *unfitted(fits), *of.failures])
    save(_dots(done, right, dataset), run.figures / "scores.png")
    save(distance_figure(done, moved, note=f"{dataset.note.rstrip('.')}."), run.figures / "distance.png")


def _dots(plans: Sequence[SubpixelPlan], rows: Sequence[Mapping[str, Any]], dataset: Dataset) -> "Figure":
    """The accuracies of the table, mean and worst, with their intervals."""
    import pandas as pd

    scores = [
        {"cell": plan.cell.name, "score": title, **found._asdict()}
        for plan, row in zip(plans, rows, strict=True)
        for title, found in row.items()
        if isinstance(found, Interval)
    ]
    note = f"{dataset.note.rstrip('.')}. Worst: right under every one of these shifts and unmoved."
    return score_dots(pd.DataFrame(scores), title="Accuracy under these shifts", note=note, chance=dataset.chance)


def _scores(found: Moved, part: str) -> dict[str, np.ndarray]:
    means = analysis.scores({key: values.mean(1) for key, values in found.columns[part].items()})
    return {name: np.asarray(means[key]) for name, key in SCORES.items()}


def _numbers(found: Moved, parts: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    named = {f"{part}.{name}": values for part, scores in parts.items() for name, values in scores.items()}
    return {"train.accuracy": found.training_accuracy, **named}


def _named(plan: SubpixelPlan) -> dict[str, Any]:
    return {"network": plan.network, "padding": plan.padding}


def _row(plan: SubpixelPlan, columns: Mapping[str, Any], found: Moved, images: int, score: str) -> dict[str, Any]:
    """A network's accuracies, and one score under each kind of shift."""
    row = _named(plan)
    row["training"] = over_seeds(found.training_accuracy)
    row["accuracy"] = score_interval(columns, "test.accuracy")
    return row | {part: over_seeds(_scores(found, part)[score], images=images) for part in PARTS}


def _accuracies(plan: SubpixelPlan, columns: Mapping[str, Any], found: Moved, images: int) -> dict[str, Any]:
    row = _named(plan) | {"unmoved": score_interval(columns, "test.accuracy")}
    for title, name in (("mean", "accuracy"), ("worst", "worst")):
        row |= {f"{title}, {part}": over_seeds(_scores(found, part)[name], images=images) for part in PARTS}
    return row


def _costs(plans: Sequence[SubpixelPlan], times: Times, dataset: Dataset) -> list[dict[str, Any]]:
    rows, first = [], None
    for plan in plans:
        cost, taken = cost_of(plan.cell.model, dataset.train.images.shape[1:]), times[plan.cell.name]
        first = first or (cost.multiply_adds, taken)
        low, median, high = np.quantile(taken / first[1], (0.25, 0.5, 0.75))
        rows.append({
            "network": plan.network,
            "parameters": cost.parameters,
            "multiply-adds": f"{cost.multiply_adds / 1e6:.2f} M",
            "relative": cost.multiply_adds / first[0],
            "ms a step": 1e3 * float(np.median(taken)),
            "time, relative": f"{median:.2f} ({low:.2f}–{high:.2f})",
        })  # fmt: skip
    return rows


def _aim(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which networks reach the aim with the whole of their interval."""
    least = {f"{row['network']} with {row['padding']} padding": row["half"] for row in rows}
    reached = [name for name, interval in least.items() if interval.low >= AIM]
    return (
        f"Consistency under half-pixel shifts of at least {AIM * 100:.0f} %, with all of the interval: "
        f"{'; '.join(reached) or 'no network'}."
    )


def _most(plans: Sequence[SubpixelPlan], moved: Mapping[str, Moved]) -> str:
    """How far shifts move the class probabilities of an image at most, in networks of circular padding."""
    circular = [plan for plan in plans if plan.padding == "circular"]
    each = "; ".join(f"{plan.network} {moved[plan.cell.name].most:.1g}" for plan in circular)
    return f"The most that a shift changes class probabilities, in total variation, with circular padding: {each}."
