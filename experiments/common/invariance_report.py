"""From predictions to numbers and pictures: the summary, the table and the figures of an invariance experiment."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import flax.linen as nn
import numpy as np

from cnnjax import analysis
from cnnjax.data import Dataset
from cnnjax.errors import InputError
from cnnjax.files import write_atomic
from cnnjax.study import (
    RunDirectory,
    angle_curves,
    colours,
    markdown,
    over_images,
    over_seeds,
    print_table,
    read_metrics,
    save,
    score_dots,
    training_curves,
    translation_maps,
)
from experiments.common.invariance_comparisons import compare_cells
from experiments.common.protocol import ProtocolConfig, Task, tasks
from experiments.common.sweep import Outcome

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, np.ndarray]

TABLE = {
    "accuracy": "test.accuracy",
    "shifted: mean": "shift_zero.mean_accuracy",
    "worst": "shift_zero.worst_accuracy",
    "adj. cons.": "shift_zero.adjusted_consistency",
    "rotated: mean": "rotation.mean_accuracy",
    "worst ": "rotation.worst_accuracy",
    "adj. cons. ": "rotation.adjusted_consistency",
}
"""The table's columns, and the scores in them. All the other scores are in summary.csv and scores.csv."""

DOTS = {
    "accuracy, untransformed": "test.accuracy",
    "accuracy, shifted": "shift_zero.mean_accuracy",
    "adjusted consistency, shifted": "shift_zero.adjusted_consistency",
    "accuracy, rotated": "rotation.mean_accuracy",
    "adjusted consistency, rotated": "rotation.adjusted_consistency",
}


def write(
    run: RunDirectory,
    outcomes: Mapping[str, Outcome],
    dataset: Dataset,
    protocol: ProtocolConfig,
    model: nn.Module,
    *,
    seeds: int,
) -> None:
    """Write `summary.csv`, `scores.csv`, `comparisons.csv`, `table.md` and `figures/`, and print the table.

    The summary has a row for each cell and seed; the scores a row for each cell and score, with both intervals; the
    comparisons one for each cell against the first, and score of the table, over seeds and over images.
    """
    import pandas as pd

    todo = tasks(protocol, dataset, model)
    done = {name: outcome.predictions for name, outcome in outcomes.items() if outcome.predictions is not None}
    columns = {name: _columns(arrays, todo, dataset) for name, arrays in done.items()}
    summary = _summary(outcomes, columns, seeds)
    run.write_summary(summary)
    if not done:
        failures = "; ".join(f"{name}: {outcome.failure}" for name, outcome in outcomes.items())
        raise InputError(f"every cell failed, so there is nothing to measure. {failures}")
    table = pd.DataFrame([row for name, parts in columns.items() for row in _intervals(name, parts)])
    write_atomic(run.path / "scores.csv", table.to_csv(index=False, lineterminator="\n"))
    if len(done) > 1:
        comparisons = compare_cells(summary, columns, [*TABLE.values()])
        write_atomic(run.path / "comparisons.csv", comparisons.to_csv(index=False, lineterminator="\n"))
    _tabulate(run, columns, outcomes, dataset, protocol)
    _draw(run, done, table, todo, dataset)


def _columns(arrays: Mapping[str, np.ndarray], todo: Mapping[str, Task], dataset: Dataset) -> dict[str, Columns]:
    """Per-image columns `(seeds, images)` of every orbit, and of the exact and the interpolated rotations apart."""

    def stacked(name: str, among: np.ndarray | None = None) -> Columns:
        answers, variation = arrays[f"{name}/classes"], arrays[f"{name}/total_variation"]
        labels = dataset.test.labels[: answers.shape[-1]]
        each = [
            analysis.image_columns(analysis.Predictions(a, v), labels, todo[name].orbit, among=among)
            for a, v in zip(answers, variation, strict=True)
        ]
        return {key: np.stack([seed[key] for seed in each]) for key in each[0]}

    found = {"test": {"correct": (arrays["test/classes"] == dataset.test.labels).astype(np.float64)}}
    found |= {name: stacked(name) for name in todo}
    quarter = analysis.quarter_turns(todo["rotation"].orbit)
    _, height, width, _ = dataset.test.images.shape
    if height == width and quarter.any() and not quarter.all():
        found["rotation_interpolated"] = stacked("rotation", ~quarter)
        found["quarter_turn"] = stacked("rotation", quarter)
    return found


def _scores(name: str, means: Columns) -> dict[str, np.ndarray]:
    return {"accuracy": means["correct"]} if name == "test" else analysis.scores(means)


FILL_GAP = "consistency_circular_minus_zero"
"""What content leaving the frame costs, less what the seam of a circular shift costs; 0 if a margin holds all shifts.

Border and aliasing are told apart by other networks, trained with circular padding: they have no border.
"""


def _fill_gap(columns: Mapping[str, Columns]) -> np.ndarray:
    """`(seeds, images)`: the same shifts of the same images, filled with what left against filled with zero."""
    return columns["shift_circular"]["agree"] - columns["shift_zero"]["agree"]


def _summary(
    outcomes: Mapping[str, Outcome], columns: Mapping[str, Mapping[str, Columns]], seeds: int
) -> "pd.DataFrame":
    import pandas as pd

    rows = []
    for cell, outcome in outcomes.items():
        for seed in range(seeds):
            row: dict[str, object] = {"cell": cell, "seed": seed, "status": outcome.failure or "ok"}
            for name, parts in columns.get(cell, {}).items():
                means = {key: values[seed].mean() for key, values in parts.items()}
                row |= {f"{name}.{score}": float(value) for score, value in _scores(name, means).items()}
            if cell in columns:
                row[FILL_GAP] = float(_fill_gap(columns[cell])[seed].mean())
            rows.append(row)
    return pd.DataFrame(rows)


def _intervals(cell: str, columns: Mapping[str, Columns]) -> list[dict[str, object]]:
    rows = []
    parts = {(name, score): columns[name] for name in columns for score in _scores(name, _means(columns[name]))}
    for (name, score), part in parts.items():
        values = _scores(name, _means(part))[score]
        rows.append(_row(cell, f"{name}.{score}", values, part, lambda m, n=name, s=score: _scores(n, m)[s]))
    gap = _fill_gap(columns)
    rows.append(_row(cell, FILL_GAP, gap.mean(1), {"gap": gap}, lambda m: m["gap"]))
    return rows


def _means(part: Columns) -> Columns:
    return {key: values.mean(1) for key, values in part.items()}


def _row(cell: str, score: str, values: np.ndarray, part: Columns, function) -> dict[str, object]:
    row: dict[str, object] = {"cell": cell, "score": score, "mean": float(values.mean())}
    if np.isfinite(values).all():
        seeds, images = over_seeds(values), over_images(part, function)
        least = -1.0 if score == FILL_GAP else 0.0
        low, high, low_images, high_images = np.clip((seeds.low, seeds.high, images.low, images.high), least, 1.0)
        row |= {"low": low, "high": high, "seeds": seeds.n}
        row |= {"low_over_images": low_images, "high_over_images": high_images, "images": images.n}
    return row


def _draw(
    run: RunDirectory,
    done: Mapping[str, Mapping[str, np.ndarray]],
    table: "pd.DataFrame",
    todo: Mapping[str, Task],
    dataset: Dataset,
) -> None:
    palette = colours(list(done))
    seeds, _, images = next(iter(done.values()))["rotation/classes"].shape
    note = f"{dataset.name}: {images} test images."
    labels = dataset.test.labels[:images]
    rotation, shift = todo["rotation"].orbit, todo["shift_zero"].orbit
    degrees = np.concatenate([[0], rotation.parameters])
    degrees = np.where(degrees > 180, degrees - 360, degrees)
    order = np.argsort(degrees)
    curves = {name: (arrays["rotation/classes"] == labels).mean(-1)[:, order] for name, arrays in done.items()}
    figure = angle_curves(curves, degrees[order], title="Accuracy under rotation", note=note, palette=palette)
    save(figure, run.figures / "rotation.png")

    reach = int(shift.parameters.max())
    maps = {}
    for name, arrays in done.items():
        grid = np.empty((2 * reach + 1, 2 * reach + 1))
        accuracy = (arrays["shift_zero/classes"] == labels).mean((0, 2))
        grid[reach, reach] = accuracy[0]
        grid[tuple((shift.parameters + reach).T)] = accuracy[1:]
        maps[name] = grid
    figure = translation_maps(maps, title="Accuracy under translation", note=f"{note} Mean over {seeds} seeds.")
    save(figure, run.figures / "translation.png")

    titles = {score: title for title, score in DOTS.items()}
    dots = table[table["score"].isin(titles)].assign(
        score=lambda frame: frame["score"].map(titles), n=lambda f: f["seeds"]
    )
    figure = score_dots(dots, title="Accuracy and adjusted consistency", note=note, palette=palette)
    save(figure, run.figures / "scores.png")

    metrics = read_metrics(run.path, keys=("cell", "seed", "step"))
    if metrics.empty:
        warnings.warn(f"{run.path / 'metrics.jsonl'} is empty: there is no training to draw", stacklevel=2)
        return
    metrics = metrics.query("cell in @done")
    save(training_curves(metrics, title="Training", palette=palette), run.figures / "training.png")


def _tabulate(
    run: RunDirectory,
    columns: Mapping[str, Mapping[str, Columns]],
    outcomes: Mapping[str, Outcome],
    dataset: Dataset,
    protocol: ProtocolConfig,
) -> None:
    rows = []
    for cell, parts in columns.items():
        row: dict[str, object] = {cell.partition("=")[0]: cell.partition("=")[2]}
        for title, score in TABLE.items():
            name, _, key = score.partition(".")
            row[title] = over_seeds(_scores(name, _means(parts[name]))[key])
        rows.append(row)
    measured = min(protocol.images, len(dataset.test.images))
    caption = (
        f"{dataset.name}: {len(dataset.train.images)} training images; accuracy is over all {len(dataset.test.images)} "
        f"test images, the other columns over {measured} of them. {dataset.note.rstrip('.')}. "
        f"Protocol {analysis.PROTOCOL}: every shift up to {protocol.max_shift} px, zero fill, "
        f"margin {dataset.margin} px; rotations every {protocol.rotation_step:g}°."
    )
    if dataset.margin < protocol.max_shift and dataset.test.scenes is None:
        caption += " The margin is smaller than the shift: content leaves the frame."
    title = "Invariance by augmentation, in percent"
    failures = [f"{cell} failed: {outcome.failure}" for cell, outcome in outcomes.items() if outcome.failure]
    print_table(rows, title=title, caption=caption)
    print("".join(f"{failure}\n" for failure in failures), end="")
    write_atomic(run.path / "table.md", "\n".join([f"**{title}**\n", markdown(rows, caption=caption), *failures]))
