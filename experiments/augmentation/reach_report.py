"""How far invariance reaches: accuracy inside and outside the range that training showed, and what it costs."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax import analysis
from cnnjax.data import Dataset
from cnnjax.figures import colors, save
from cnnjax.figures.style import draw_chance, frame, seeds_note, styled, tidy
from cnnjax.runs import RunDirectory, Table, read_summary, show_tables
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Sweep
from cnnjax.sweep.metrics import read_trainings
from cnnjax.sweep.protocol import Task
from cnnjax.sweep.scores import Parts, score_interval, write_scores
from cnnjax.sweep.traced import cost_of
from experiments.augmentation.comparisons import compare_cells
from experiments.shared.fitting import TRAINING, training_accuracy, training_interval, unfitted
from experiments.shared.score_picture import score_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Reach:
    """One cell, and what distinguishes it from others."""

    plan: CellPlan
    settings: Mapping[str, Any]
    architecture: str

    @property
    def training(self) -> str:
        """What its training images are put through, such as `±45°`."""
        augmentation = self.plan.augmentation
        parts = [
            f"±{augmentation.crop} px" if augmentation.crop else "",
            f"±{augmentation.rotation:g}°" if augmentation.rotation else "",
        ]
        return ", ".join(filter(None, parts)) or "none"


ACCURACIES = {
    "accuracy": "test.accuracy",
    "rotated: inside": "rotation_inside.mean_accuracy",
    "outside": "rotation_outside.mean_accuracy",
    "worst": "rotation.worst_accuracy",
    "shifted: inside": "shift_inside.mean_accuracy",
    "outside ": "shift_outside.mean_accuracy",
    "worst ": "shift_zero.worst_accuracy",
}
"""Columns of the table, and the scores in them."""

COMPARED = ("test.accuracy", "rotation.mean_accuracy", "shift_zero.mean_accuracy")


def write(of: Sweep, cells: Sequence[Reach]) -> None:
    """Print the tables and write them, `summary.csv`, `scores.csv`, `comparisons.csv` and the figure.

    The comparisons are with the first cell.
    """
    run, dataset, protocol = of.run, of.dataset, of.protocol
    assert protocol is not None
    parts = {cell.plan.name: parts_inside_and_outside(cell, of.tasks) for cell in cells}
    columns = write_scores(of, parts=parts)
    done = [cell for cell in cells if cell.plan.name in columns]
    compared = [name for name in COMPARED if name.partition(".")[0] in columns[done[0].plan.name]]
    if len(done) > 1:
        comparisons = compare_cells(read_summary(run.path), columns, compared)
        run.write_table("comparisons", comparisons)
    labels = [_labels(cell) for cell in done]
    reach, cost, fits = [], [], training_accuracy(of)
    times = milliseconds(run, [cell.plan.name for cell in done])
    for cell, label in zip(done, labels, strict=True):
        scores = {title: score_interval(columns[cell.plan.name], name) for title, name in ACCURACIES.items()}
        fit = {"accuracy": scores.pop("accuracy"), "training": training_interval(fits, cell.plan.name)}
        reach.append(label | fit | scores)
    for cell, label in zip(done, labels, strict=True):
        fixed = {name: value for name, value in label.items() if name not in ("augmentation", "trained on")}
        if fixed not in [{name: row[name] for name in fixed} for row in cost]:
            cost.append(fixed | _cost(cell, dataset) | {"ms / step": times.get(cell.plan.name)})
    measured = min(protocol.images, len(dataset.test.images))
    about = (
        f"Mean accuracy over shifts up to {protocol.max_shift} px (zero fill, margin {dataset.margin} px) and "
        f"rotations every {protocol.rotation_step:g}°, inside and outside the range of the training images; worst: "
        f"right under all of them. {measured} test images; accuracy over all {len(dataset.test.images)}. "
        f"{TRAINING} {dataset.note.rstrip('.')}. Protocol {analysis.PROTOCOL}."
    )
    price = "Of one image; a step: of training, the median, with the backward pass, on this machine."
    tables = [
        Table(reach, "Invariance inside and outside the trained range, in percent", about, percent=True),
        Table(cost, "What each network costs", price),
    ]
    show_tables(run, tables, notes=[*unfitted(fits), *of.failures])
    save(reach_figure(done, of.predictions, of.tasks, dataset), run.figures / "reach.png")
    named = {cell.plan.name: ", ".join(label.values()) for cell, label in zip(done, labels, strict=True)}
    apart = len(set(named.values())) == len(named)  # not where an augmentation is one's own
    save(score_picture(of, labels=named if apart else None), run.figures / "scores.png")


def parts_inside_and_outside(cell: Reach, todo: Mapping[str, Task]) -> Parts:
    """Which rotations and shifts of the orbits the cell's training images were put through, and which not."""
    found = {}
    if "rotation" in todo:
        inside = _angles(todo["rotation"]) <= cell.plan.augmentation.rotation
        found |= {"rotation_inside": ("rotation", inside), "rotation_outside": ("rotation", ~inside)}
    if "shift_zero" in todo:
        inside = _distances(todo["shift_zero"]) <= cell.plan.augmentation.crop
        found |= {"shift_inside": ("shift_zero", inside), "shift_outside": ("shift_zero", ~inside)}
    return found


def _angles(task: Task) -> np.ndarray:
    """How far each rotation turns, either way, in degrees."""
    degrees = task.orbit.parameters % 360
    return np.minimum(degrees, 360 - degrees)


def _distances(task: Task) -> np.ndarray:
    """The longer side of each shift, in pixels."""
    return np.abs(task.orbit.parameters).max(-1)


def _labels(cell: Reach) -> dict[str, Any]:
    fields = {name: str(value) for name, value in cell.settings.items() if name not in ("augmentation", "strength")}
    return fields | {"trained on": cell.training}


def _cost(cell: Reach, dataset: Dataset) -> dict[str, str]:
    cost = cost_of(cell.plan.model, dataset.train.images.shape[1:])
    return {"parameters": f"{cost.parameters:,}", "multiply-adds": f"{cost.multiply_adds:,}"}


def milliseconds(run: RunDirectory, cells: Sequence[str]) -> dict[str, float]:
    """Milliseconds of a training step, by cell: the median over chunks of steps, the first of which compiles."""
    if (metrics := read_trainings(run, cells)) is None:
        return {}
    # A chunk goes from the record before to this one; an epoch's last may be shorter than the others.
    metrics = metrics.sort_values("step")
    steps = metrics.groupby(["cell", "seed"])["step"].diff().fillna(metrics["step"])
    return (1000 * metrics["seconds"] / steps).groupby(metrics["cell"]).median().to_dict()


@styled()
def reach_figure(
    cells: Sequence[Reach],
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    todo: Mapping[str, Task],
    dataset: Dataset,
) -> "Figure":
    """Accuracy against how far the image is turned, and how far it is shifted; a column for each architecture."""
    from matplotlib.figure import Figure

    rows = {
        name: (reach(todo[name]), label)
        for name, reach, label in (
            ("rotation", _angles, "rotation of the image (°)"),
            ("shift_zero", _distances, "shift of the image (pixels)"),
        )
        if name in todo
    }
    groups = {}
    for cell in cells:
        key = ", ".join(value for name, value in _labels(cell).items() if name != "trained on") or "network"
        groups.setdefault(key, []).append(cell)
    trainings = list(dict.fromkeys(cell.training for cell in cells))
    shades = colors(trainings)
    figure = Figure(figsize=(max(6.0, 2.5 * len(groups) + 0.8), 2.5 * len(rows) + 0.9), layout="constrained")
    panels, dotted = figure.subplots(len(rows), len(groups), sharey=True, squeeze=False), []
    for line, (orbit, (distances, label)) in zip(panels, rows.items(), strict=True):
        places = np.concatenate([[0], distances])
        at = np.unique(places)
        for axes, mine in zip(line, groups.values(), strict=True):
            for cell in mine:
                answers = predictions[cell.plan.name][f"{orbit}/classes"]
                right = (answers == dataset.test.labels[: answers.shape[-1]]).mean(-1)
                curve = 100 * np.stack([right[:, places == place].mean(1) for place in at], -1)
                shade = shades[cell.training]
                axes.plot(at, curve.mean(0), color=shade, label=cell.training)
                axes.fill_between(at, curve.min(0), curve.max(0), color=shade, alpha=0.18, linewidth=0)
            axes.set_ylim(0, 101)
            axes.set_xticks(np.arange(0, 181, 45) if orbit == "rotation" else at)
            axes.set_xlabel(label)
            dotted = draw_chance(axes, dataset.chance)
            tidy(axes)
        line[0].set_ylabel("accuracy (%)")
    for axes, name in zip(panels[0], groups, strict=True):
        axes.set_title(name)
    counts = [len(predictions[cell.plan.name]["test/classes"]) for cell in cells]
    notes = [seeds_note(counts), *dotted, "A shift's length is its longer side.", dataset.note]
    frame(figure, "How far invariance reaches, by what was trained on", notes, panels[0, 0])
    return figure
