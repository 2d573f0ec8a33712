"""From trained networks to tables: their errors beside the published ones, and what sets each apart from the last."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnnjax import analysis, models
from cnnjax.figures import save
from cnnjax.runs import Progress, Table, show_tables
from cnnjax.stats import Interval, compare, over_images, over_seeds
from cnnjax.sweep.cells import Sweep
from cnnjax.sweep.paired import write_comparisons
from cnnjax.sweep.scores import score_interval, write_scores
from cnnjax.sweep.traced import cost_of
from experiments.mnist_rot.figures import errors_figure
from experiments.shared.fitting import unfitted
from experiments.shared.large_numbers import short
from experiments.shared.score_picture import score_picture

NAMES = {"z2": "Z2CNN", "p4_pooled": "P4CNN, rotation pooling", "p4": "P4CNN"}

PUBLISHED = {"z2": 0.0503, "p4_pooled": 0.0321, "p4": 0.0228}
"""Test errors of Cohen & Welling 2016, table 1."""

SCORES = ("test.accuracy", "quarter_turn.consistency", "rotation_interpolated.consistency")


def training_errors(of: Sweep, progress: Progress) -> dict[str, np.ndarray]:
    """By cell, each trained network's error (seeds,) on the images that it learned from, as they are."""
    found = {}
    for cell in (plan for plan in of.plans if plan.name in of.predictions):

        def measure(cell: Any = cell) -> dict[str, np.ndarray]:
            answers = []
            for seed, variables in enumerate(of.networks(cell)):
                answers.append(analysis.classify_all(models.bind(cell.model, variables), of.dataset.train.array))
                progress.advance(seed + 1, of.seeds)
            return {"error": (np.stack(answers) != of.dataset.train.labels).mean(1)}

        title = f"{cell.name}: training error"
        found[cell.name] = of.run.once(cell.name, "training.safetensors", measure, progress=progress, title=title)[
            "error"
        ]
    return found


def write(of: Sweep, kinds: Mapping[str, str], errors: Mapping[str, np.ndarray]) -> None:
    """Print the tables and write them, `summary.csv`, `scores.csv`, `comparisons.csv` and the figure.

    `kinds` are the networks by cell, `errors` their errors on the training images. The comparisons are of each network
    with those before it.
    """
    columns = write_scores(of, more={cell: {"train.error": values} for cell, values in errors.items()})
    done = [cell for cell in kinds if cell in columns]
    pairs = [(later, earlier) for earlier, later in itertools.combinations(done, 2)]
    write_comparisons(of.run, ("train.error", *SCORES), pairs)
    dataset, protocol = of.dataset, of.protocol
    assert protocol is not None
    tested, turned = len(dataset.test.labels), min(protocol.images, len(dataset.test.labels))
    about = (
        "Published: Cohen & Welling 2016, table 1, of MNIST-rot. Worst: the share of images right at every turn. "
        "Consistency: the share of turns that leave the answer "
        f"alone, of the first {turned:,} of {tested:,} test images, under quarter turns and under the other multiples "
        f"of {protocol.rotation_step:g}°; protocol {analysis.PROTOCOL}. {dataset.note}."
    )
    rows = [_row(of, kinds[cell], cell, columns[cell], errors[cell]) for cell in done]
    tables = [Table(rows, "Errors and consistencies, in percent", about, percent=True, digits=2)]
    if pairs and of.seeds > 1:
        caption = (
            "Test errors in percentage points, of the same images and seed by seed; over images: how far the "
            "difference would move with other test images. p: that of the paired t test over seeds, by Holm's method "
            "for all rows."
        )
        differences = _differences(pairs, kinds, columns)
        tables.append(Table(differences, "What sets one network apart from another", caption, percent=True, digits=2))
    fits = {NAMES[kinds[cell]]: 1 - errors[cell] for cell in done}
    show_tables(of.run, tables, notes=[*unfitted(fits), *of.failures])
    correct = {kinds[cell]: columns[cell]["test"]["correct"] for cell in done}
    note = f"{dataset.name}: {len(dataset.train.labels):,} training and {tested:,} test images, each turned at random."
    named = {NAMES[kind]: values for kind, values in correct.items()}
    # Those of other digits would only look comparable.
    published = {NAMES[kind]: PUBLISHED[kind] for kind in correct} if dataset.name.startswith("mnist") else {}
    save(
        errors_figure(named, published, dataset.test.labels, note=note, chance=dataset.chance),
        of.run.figures / "errors.png",
    )
    save(score_picture(of, labels={cell: NAMES[kinds[cell]] for cell in done}), of.run.figures / "scores.png")


def _row(of: Sweep, kind: str, cell: str, columns: Mapping[str, Any], errors: np.ndarray) -> dict[str, Any]:
    plan = next(plan for plan in of.plans if plan.name == cell)
    cost = cost_of(plan.model, of.dataset.test.images.shape[1:])
    accuracy = score_interval(columns, "test.accuracy")
    assert accuracy is not None  # of all images, so always measured
    return {
        "network": NAMES[kind],
        "parameters": f"{cost.parameters:,}",
        "multiply-adds": short(cost.multiply_adds),
        "training error": over_seeds(errors, images=len(of.dataset.train.labels)),
        "test error": accuracy._replace(mean=1 - accuracy.mean, low=1 - accuracy.high, high=1 - accuracy.low),
        "MNIST-rot, published": PUBLISHED[kind],
        "worst": score_interval(columns, "rotation.worst_accuracy"),
        "quarter turns": score_interval(columns, "quarter_turn.consistency"),
        "other turns": score_interval(columns, "rotation_interpolated.consistency"),
    }


def _differences(
    pairs: Sequence[tuple[str, str]], kinds: Mapping[str, str], columns: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    from cnnjax.stats import holm

    rows, ps = [], []
    for later, earlier in pairs:
        wrong = {cell: 1 - columns[cell]["test"]["correct"] for cell in (later, earlier)}
        found = compare({cell: values.mean(1) for cell, values in wrong.items()}, baseline=earlier).iloc[0]
        over = over_seeds(wrong[later].mean(1) - wrong[earlier].mean(1))
        images: Interval = over_images(
            {"later": wrong[later], "earlier": wrong[earlier]}, lambda means: means["later"] - means["earlier"]
        )
        ps.append(found["p"])
        rows.append(
            {
                "difference": f"{NAMES[kinds[later]]} − {NAMES[kinds[earlier]]}",
                "over seeds": over,
                "over images": images,
                "MNIST-rot, published": PUBLISHED[kinds[later]] - PUBLISHED[kinds[earlier]],
            }
        )
    for row, p in zip(rows, holm(ps), strict=True):
        row["p"] = "–" if not np.isfinite(p) else "< .001" if p < 1e-3 else f"{p:.3f}".lstrip("0")
    return rows
