"""From predictions to scores: the summary with a row for each network, and every score with both its intervals."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax import analysis
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.stats import Interval, over_images, over_seeds
from cnnjax.sweep.cells import Sweep

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, np.ndarray]
"""What scores are made of, each `(seeds, images)`."""

Parts = Mapping[str, tuple[str, np.ndarray]]
"""Parts of orbits to score apart: by name the orbit, and which of its transforms, `(transforms,)` bool."""

FILL_GAP = "consistency_circular_minus_zero"
"""What content leaving the frame costs, less what the seam of a circular shift costs; 0 if a margin holds all shifts.

Border and aliasing are told apart by other networks, trained with circular padding: they have no border.
"""


@checked()
def write_scores(
    of: Sweep,
    *,
    parts: Mapping[str, Parts] | None = None,
    more: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> dict[str, dict[str, Columns]]:
    """Write `summary.csv` and `scores.csv`; return the columns of every cell that did not fail, by orbit or part.

    The summary has a row for each cell and seed; the scores a row for each cell and score, with both intervals. `parts`
    are by cell. `more` are further columns of the summary, by cell, each `(seeds,)`. Raises `InputError`, after the
    summary, where every cell failed.
    """
    import pandas as pd

    parts, more = parts or {}, more or {}
    columns = {name: _columns(arrays, of, parts.get(name, {})) for name, arrays in of.predictions.items()}
    of.run.write_table("summary", _summary(of, columns, more))
    of.check_any()
    table = pd.DataFrame([row for name, found in columns.items() for row in _intervals(name, found)])
    of.run.write_table("scores", table)
    return columns


def score(columns: Mapping[str, Columns], name: str) -> np.ndarray | None:
    """A score such as `rotation.mean_accuracy` of each seed, `(seeds,)`; None where its orbit was not measured.

    Raises InputError for one that there is not.
    """
    orbit, _, key = name.partition(".")
    if orbit not in columns:
        return None
    found = _scores(orbit, _means(columns[orbit]))
    if key not in found:
        raise InputError(f"there is no score {name!r}; there are {', '.join(f'{orbit}.{key}' for key in found)}")
    return found[key]


@checked()
def score_interval(columns: Mapping[str, Columns], name: str) -> Interval | None:
    """The interval over seeds of a score that is a mean over images; None where its orbit was not measured."""
    if (values := score(columns, name)) is None:
        return None
    return over_seeds(values, images=columns[name.partition(".")[0]]["correct"].shape[1])


def _columns(arrays: Mapping[str, np.ndarray], of: Sweep, parts: Parts) -> dict[str, Columns]:
    """Per-image columns of every orbit, of its parts, and of the exact and the interpolated rotations apart."""
    test, todo = of.dataset.test, {name: task for name, task in of.tasks.items() if f"{name}/classes" in arrays}

    def stacked(name: str, among: np.ndarray | None = None) -> Columns:
        answers, variation = arrays[f"{name}/classes"], arrays[f"{name}/total_variation"]
        labels = test.labels[: answers.shape[-1]]
        each = [
            analysis.image_columns(analysis.Predictions(a, v), labels, todo[name].orbit, among=among)
            for a, v in zip(answers, variation, strict=True)
        ]
        return {key: np.stack([seed[key] for seed in each]) for key in each[0]}

    found = {"test": {"correct": (arrays["test/classes"] == test.labels).astype(np.float64)}}
    found |= {name: stacked(name) for name in todo}
    if "rotation" in todo:
        quarter = analysis.quarter_turns(todo["rotation"].orbit)
        _, height, width, _ = test.images.shape
        if height == width and quarter.any() and not quarter.all():
            found["rotation_interpolated"] = stacked("rotation", ~quarter)
            found["quarter_turn"] = stacked("rotation", quarter)
    return found | {name: stacked(orbit, among) for name, (orbit, among) in parts.items() if among.any()}


def _scores(name: str, means: Mapping[str, Any]) -> dict[str, Any]:
    return {"accuracy": means["correct"]} if name == "test" else analysis.scores(means)


def _fills(columns: Mapping[str, Columns]) -> Columns | None:
    """Agreement under the same shifts of the same images, filled with what left the frame and filled with zero."""
    names = ("shift_circular", "shift_zero")
    return {name: columns[name]["agree"] for name in names} if set(names) <= set(columns) else None


def _gap(means: Mapping[str, Any]) -> Any:
    return means["shift_circular"] - means["shift_zero"]


def _summary(
    of: Sweep, columns: Mapping[str, Mapping[str, Columns]], more: Mapping[str, Mapping[str, np.ndarray]]
) -> "pd.DataFrame":
    import pandas as pd

    rows = []
    for cell, outcome in of.outcomes.items():
        for seed in range(of.seeds):
            row: dict[str, object] = {"cell": cell, "seed": of.first_seed + seed, "status": outcome.failure or "ok"}
            for name, part in columns.get(cell, {}).items():
                means = {key: values[seed].mean() for key, values in part.items()}
                row |= {f"{name}.{key}": float(value) for key, value in _scores(name, means).items()}
            if cell in columns and (fills := _fills(columns[cell])) is not None:
                row[FILL_GAP] = float(_gap(_means(fills))[seed])
            rows.append(row | {name: float(values[seed]) for name, values in more.get(cell, {}).items()})
    return pd.DataFrame(rows)


def _intervals(cell: str, columns: Mapping[str, Columns]) -> list[dict[str, object]]:
    rows = []
    parts = {(name, key): columns[name] for name in columns for key in _scores(name, _means(columns[name]))}
    for (name, key), part in parts.items():
        values = _scores(name, _means(part))[key]
        rows.append(_row(cell, f"{name}.{key}", values, part, lambda m, n=name, k=key: _scores(n, m)[k]))
    if (fills := _fills(columns)) is not None:
        rows.append(_row(cell, FILL_GAP, _gap(_means(fills)), fills, _gap))
    return rows


def _means(part: Columns) -> Columns:
    return {key: values.mean(1) for key, values in part.items()}


def _row(cell: str, name: str, values: np.ndarray, part: Columns, function: Callable) -> dict[str, object]:
    row: dict[str, object] = {"cell": cell, "score": name, "mean": float(values.mean())}
    if np.isfinite(values).all():
        seeds, images = over_seeds(values), over_images(part, function, shares=True)
        if seeds.n > 1 and np.isin(values, (0.0, 1.0)).all() and np.ptp(values) == 0:
            # All at one end, seeds say nothing of their spread; the images still allow for some.
            seeds = seeds._replace(low=images.low, high=images.high)
        least = -1.0 if name == FILL_GAP else 0.0
        low, high, low_images, high_images = np.clip((seeds.low, seeds.high, images.low, images.high), least, 1.0)
        row |= {"low": low, "high": high, "seeds": seeds.n}
        row |= {"low_over_images": low_images, "high_over_images": high_images, "images": images.n}
    return row
