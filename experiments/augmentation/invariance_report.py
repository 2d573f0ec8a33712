"""From predictions to numbers and pictures: the summary, the table and the figures of an invariance experiment."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cnnjax import analysis
from cnnjax.figures import angle_curves, colors, save, translation_maps
from cnnjax.runs import RunDirectory, Table, read_summary, show_tables
from cnnjax.sweep.cells import Sweep
from cnnjax.sweep.scores import Columns, score_interval, write_scores
from experiments.augmentation.comparisons import compare_cells
from experiments.shared.fitting import TRAINING, training_accuracy, training_figure, training_interval, unfitted
from experiments.shared.score_picture import score_picture

TABLE = {
    "accuracy": "test.accuracy",
    "shifted: mean": "shift_zero.mean_accuracy",
    "worst": "shift_zero.worst_accuracy",
    "consistency": "shift_zero.consistency",
    "rotated: mean": "rotation.mean_accuracy",
    "worst ": "rotation.worst_accuracy",
    "consistency ": "rotation.consistency",
}
"""The table's columns, and the scores in them. All the other scores are in summary.csv and scores.csv."""

FIGURES = ("rotation.png", "translation.png", "training.png")


def write(of: Sweep) -> None:
    """Write `summary.csv`, `scores.csv`, `comparisons.csv`, `table.md` and `figures/`, and print the table.

    For the first two see `write_scores`; the comparisons have a row for each cell against the first, and score of the
    table, over seeds and over images.
    """
    run = of.run
    columns = write_scores(of)
    if len(columns) > 1:
        shown = [name for name in TABLE.values() if name.partition(".")[0] in next(iter(columns.values()))]
        comparisons = compare_cells(read_summary(run.path), columns, shown)
        run.write_table("comparisons", comparisons)
    _tabulate(of, columns)
    _draw(of)


def forget(run: RunDirectory) -> None:
    """Delete the figures of a run that has grown beyond this report."""
    for name in FIGURES:
        (run.figures / name).unlink(missing_ok=True)


def _draw(of: Sweep) -> None:
    run, done, todo, dataset = of.run, of.predictions, of.tasks, of.dataset
    palette = colors(list(done))
    first = next(iter(done.values()))
    seeds, _, images = first[f"{next(iter(todo))}/classes"].shape
    note = f"{dataset.name}: {images} test images."
    labels = dataset.test.labels[:images]
    if "rotation" in todo:
        rotation = todo["rotation"].orbit
        degrees = np.concatenate([[0], rotation.parameters])
        degrees = np.where(degrees > 180, degrees - 360, degrees)
        order = np.argsort(degrees)
        curves = {name: (arrays["rotation/classes"] == labels).mean(-1)[:, order] for name, arrays in done.items()}
        look: dict[str, Any] = dict(note=note, palette=palette, chance=dataset.chance)
        figure = angle_curves(curves, degrees[order], title="Accuracy under rotation", **look)
        save(figure, run.figures / "rotation.png")
    if "shift_zero" in todo:
        shift = todo["shift_zero"].orbit
        maps = {name: accuracy_map(arrays["shift_zero/classes"] == labels, shift) for name, arrays in done.items()}
        note_of_maps = f"{note} Mean over {seeds} seeds."
        figure = translation_maps(maps, title="Accuracy under translation", note=note_of_maps, chance=dataset.chance)
        save(figure, run.figures / "translation.png")

    save(score_picture(of, palette=palette), run.figures / "scores.png")

    if (figure := training_figure(of, palette=palette)) is not None:
        save(figure, run.figures / "training.png")


def accuracy_map(right: np.ndarray, shift: analysis.Orbit) -> np.ndarray:
    """The mean of `right` `(seeds, transforms + 1, images)` at each shift, as a map `(2k + 1, 2k + 1)` of dy and dx."""
    reach = int(shift.parameters.max())
    grid = np.empty((2 * reach + 1, 2 * reach + 1))
    accuracy = right.mean((0, 2))
    grid[reach, reach] = accuracy[0]
    grid[tuple((shift.parameters + reach).T)] = accuracy[1:]
    return grid


def _tabulate(of: Sweep, columns: Mapping[str, Mapping[str, Columns]]) -> None:
    dataset, protocol = of.dataset, of.protocol
    assert protocol is not None
    rows, fits = [], training_accuracy(of)
    for cell, parts in columns.items():
        row: dict[str, object] = {"augmentation": cell.partition("augmentation=")[2]}
        for title, name in TABLE.items():
            if (found := score_interval(parts, name)) is not None:
                row[title] = found
            if name == "test.accuracy":
                row["training"] = training_interval(fits, cell)
        rows.append(row)
    measured = min(protocol.images, len(dataset.test.images))
    caption = (
        f"{dataset.name}: {len(dataset.train.images)} training images; accuracy is over all {len(dataset.test.images)} "
        f"test images, the other columns over {measured} of them. {TRAINING} Always the commonest class is right for "
        f"{100 * dataset.chance:.1f} %. {dataset.note.rstrip('.')}. "
        f"Protocol {analysis.PROTOCOL}: every shift up to {protocol.max_shift} px, zero fill, "
        f"margin {dataset.margin} px; rotations every {protocol.rotation_step:g}°."
    )
    if dataset.margin < protocol.max_shift and dataset.test.scenes is None:
        caption += " The margin is smaller than the shift: content leaves the frame."
    table = Table(rows, "Invariance by augmentation, in percent", caption, percent=True)
    show_tables(of.run, [table], notes=[*unfitted(fits), *of.failures])
