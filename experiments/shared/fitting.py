"""How well networks came to fit their training images, and the picture of how they did."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.figures import training_curves
from cnnjax.stats import Interval, over_seeds
from cnnjax.sweep.cells import Sweep
from cnnjax.sweep.metrics import read_trainings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FITTED = 0.95
"""The accuracy on training images from which a network has fitted them."""

TRAINING = "Training: of training images as they were shown in the last epoch, augmented and while the network changed."
"""What `training_accuracy` is, for a caption."""


def training_accuracy(of: Sweep) -> dict[str, np.ndarray]:
    """By cell that did not fail, the accuracy in the last epoch of each seed, (seeds,), as `metrics.jsonl` has it.

    Nothing of cells whose records were lost.
    """
    metrics = read_trainings(of.run, names := [*of.predictions])
    if metrics is None:
        return {}
    found = {}
    for cell in names:
        mine: Any = metrics[metrics["cell"] == cell]
        mine = mine.sort_values("step")
        steps = mine.groupby("seed")["step"].diff().fillna(mine["step"])
        last = mine["epoch"] > mine["epoch"].max() - 1 + 1e-6  # a record counts the steps since the one before it
        right = (mine["accuracy"] * steps)[last].groupby(mine["seed"]).sum()
        if len(right):
            found[cell] = (right / steps[last].groupby(mine["seed"]).sum()).sort_index().to_numpy(np.float64)
    return found


def training_interval(found: Mapping[str, np.ndarray], cell: str) -> Interval | None:
    """The interval over seeds of a cell's training accuracy; None where it is not known."""
    return over_seeds(found[cell]) if cell in found else None


def unfitted(found: Mapping[str, np.ndarray]) -> list[str]:
    """A line that names the cells whose networks have not fitted their training images; none where all have."""
    low = {cell: 100 * values.mean() for cell, values in found.items() if values.mean() < FITTED}
    if not low:
        return []
    named = ", ".join(f"{cell} ({value:.1f} %)" for cell, value in low.items())
    return [f"Not fitted to their training images, so that more epochs may change what is said of them: {named}."]


def training_figure(
    of: Sweep, cells: Sequence[str] | None = None, *, palette: Mapping[str, str] | None = None
) -> "Figure | None":
    """How the cells trained, with their accuracy on the test images; None, with a warning, where that was lost."""
    cells = [*of.predictions] if cells is None else cells
    if (metrics := read_trainings(of.run, cells)) is None:
        return None
    right = {name: of.predictions[name]["test/classes"] == of.dataset.test.labels for name in cells}
    tests = {name: each.mean(-1) for name, each in right.items()}
    return training_curves(metrics, palette=palette, tests=tests, chance=of.dataset.chance)
