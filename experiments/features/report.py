"""From measured layers to tables and figures: units, probes and similarity against depth, before and after training."""

from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.data import Dataset
from cnnjax.figures import save
from cnnjax.runs import Table, format_interval, show_tables
from cnnjax.stats import Interval, over_seeds
from cnnjax.sweep.cells import Sweep
from experiments.features import figures as feature_figures
from experiments.features.cells import CELL, Measured, tasks
from experiments.shared.fitting import TRAINING, training_accuracy, training_figure, unfitted

if TYPE_CHECKING:
    import pandas as pd

OF_UNITS = ("selectivity", "selectivity_by_chance", "purity", "purity_by_chance", "sparseness")
"""Of each layer's units the mean over those that are not silent."""

LAYERS = (
    "In percent. Probe: test images whose label logistic regression on the layer's means over cells gets right; start: "
    "of the same networks before training. CKA: similarity of the layer with itself in the networks of other seeds, "
    "and with itself before training; without bias, so that it can be below 0."
)
UNITS = (
    "In percent, means over the units of trained networks; in brackets what shuffled labels give. Selectivity (Morcos "
    "et al. 2018): how much more a unit answers to its preferred label than to the others. Purity: the share of the "
    "most frequent label among the images that make a unit answer most. Sparseness (Vinje & Gallant 2000): 100 where a "
    "unit answers a single image. Silent: units that no image makes answer."
)


def write(of: Sweep, found: Measured) -> None:
    """Print the table and write it, `summary.csv`, `units.csv`, `similarity.csv` and the figures.

    The summary has a row for each network, of a state and a seed, and layer; units one for each unit of those;
    similarity one for each pair of states and of layers, over all pairs of networks of the same seed and of others.
    """
    import pandas as pd

    run, dataset, fits = of.run, of.dataset, training_accuracy(of)
    summary = pd.DataFrame([row for index in range(len(found.networks)) for row in _layers(found, index)])
    run.write_table("summary", summary)
    units = pd.concat([_units(found, index) for index in range(len(found.networks))])
    run.write_table("units", units)
    pairs = pd.DataFrame(_pairs(found))
    run.write_table("similarity", pairs)
    note = f"Images: {dataset.note}."
    fit = f"{TRAINING} {format_interval(over_seeds(fits[CELL]))} % right." if CELL in fits else ""
    about = " ".join(filter(None, [LAYERS, matches(found), fit, note]))
    tables = [
        Table(
            _layer_table(summary, found, len(dataset.test.labels)),
            "Layers, from the pixels to the logits",
            about,
            percent=True,
        ),
        Table(_unit_table(summary, found), "What units respond to", UNITS, percent=True),
    ]
    show_tables(run, tables, notes=unfitted(fits))
    figures = {
        "similarity": feature_figures.similarity_figure(_heat_maps(found), found.layers, note=note),
        "depth": feature_figures.depth_figure(summary, found.layers, chances=chances(dataset), note=note),
    }
    if (training := training_figure(of)) is not None:
        figures["training"] = training
    for name, figure in figures.items():
        save(figure, run.figures / f"{name}.png")


def chances(dataset: Dataset) -> dict[str, float]:
    """By what probes tell apart, the share of test images with the commonest label."""
    return {task: np.bincount(labels).max() / len(labels) for task, (_, labels) in tasks(dataset).items()}


def _layers(found: Measured, index: int) -> list[dict[str, Any]]:
    state, seed = found.networks[index]
    arrays = found.of_layers[index]
    rows = []
    for depth, layer in enumerate(found.layers):
        row: dict[str, Any] = {"state": state, "seed": seed, "layer": layer, "depth": depth}
        for name, values in arrays.items():
            whose, _, what = name.partition("/")
            if whose == layer and what.partition(".")[0] in ("probe", "silent", *OF_UNITS):
                finite = values[np.isfinite(values)]
                row[what] = float(finite.mean()) if len(finite) else np.nan
        others = [i for i, (s, n) in enumerate(found.networks) if s == state and n != seed]
        row["cka.other_seeds"] = found.similarity[index, depth, others, depth].mean() if others else np.nan
        start = found.networks.index(("start", seed))
        row["cka.start"] = found.similarity[index, depth, start, depth]
        rows.append(row)
    return rows


def _units(found: Measured, index: int) -> "pd.DataFrame":
    import pandas as pd

    state, seed = found.networks[index]
    tables = []
    for layer in found.layers:
        columns = {
            name.removeprefix(f"{layer}/"): values
            for name, values in found.of_layers[index].items()
            if name.startswith(f"{layer}/") and values.ndim
        }
        unit = np.arange(len(columns["sparseness"]))
        tables.append(pd.DataFrame({"state": state, "seed": seed, "layer": layer, "unit": unit} | columns))
    return pd.concat(tables)


def between(found: Measured, first: str, second: str, *, same: bool) -> np.ndarray:
    """The similarity (layers, layers) of networks of two states, the mean over pairs of the same seed or of others.

    NaN where there is one seed and others are asked for.
    """
    pairs = [
        found.similarity[i, :, j, :]
        for i, (a, seed) in enumerate(found.networks)
        for j, (b, other) in enumerate(found.networks)
        if (a, b) == (first, second) and (seed == other) == same
    ]
    return np.mean(pairs, 0) if pairs else np.full((len(found.layers),) * 2, np.nan)


def _heat_maps(found: Measured) -> dict[str, np.ndarray]:
    maps = {
        "in a trained network": between(found, "trained", "trained", same=True),
        "in two trained networks": between(found, "trained", "trained", same=False),
        "in two networks at the start": between(found, "start", "start", same=False),
    }
    return {title: matrix for title, matrix in maps.items() if np.isfinite(matrix).any()}


def _pairs(found: Measured) -> list[dict[str, Any]]:
    rows = []
    for first, second in (("start", "start"), ("start", "trained"), ("trained", "trained")):
        same, others = (between(found, first, second, same=same) for same in (True, False))
        for i, a in enumerate(found.layers):
            for j, b in enumerate(found.layers):
                row = {"first": first, "second": second, "first_layer": a, "second_layer": b}
                rows.append(row | {"cka.same_seed": same[i, j], "cka.other_seeds": others[i, j]})
    return rows


def matches(found: Measured) -> str:
    """How often the layer of another trained network that is most like a layer is its counterpart, in a sentence."""
    hits = []
    for i, (state, seed) in enumerate(found.networks):
        for j, (other, another) in enumerate(found.networks):
            if state == other == "trained" and seed != another:
                hits.append(found.similarity[i, :, j, :].argmax(1) == np.arange(len(found.layers)))
    if not hits:
        return ""
    share = np.mean(hits)
    return f"Of the trained networks' layers {share:.0%} are most like their counterpart in another network."


def _over(summary: "pd.DataFrame", depth: int, state: str, what: str, images: int | None = None) -> Interval | None:
    values = feature_figures.by_depth(summary, state, what)[:, depth]
    values = values[np.isfinite(values)]
    return over_seeds(values, images=images) if len(values) else None


def over_pairs(means: np.ndarray) -> Interval:
    """The mean over all pairs of networks, with its interval over networks, of each one's mean over its pairs (n,).

    A pair moves with both its networks, so that these means as they are would give less than half of the interval: it
    is that of the jackknife's pseudo-values, n U − (n − 1) Uᵢ, of the mean over pairs U and that without a network Uᵢ
    (Arvesen 1969, "Jackknifing U-Statistics"). Two networks are a single pair, which has no interval.
    """
    n, mean = len(means), float(means.mean())
    if n < 3:
        return Interval(mean, float("nan"), float("nan"), n)
    without = (n * mean - 2 * means) / (n - 2)
    return over_seeds(n * mean - (n - 1) * without)


def _layer_table(summary: "pd.DataFrame", found: Measured, images: int) -> list[dict[str, Any]]:
    rows = []
    for depth, layer in enumerate(found.layers):
        row: dict[str, Any] = {"layer": layer}
        for task in feature_figures.tasks_of(summary):
            row[f"probe: {task}"] = _over(summary, depth, "trained", f"probe.{task}", images)
            row[f"{task}, start"] = _over(summary, depth, "start", f"probe.{task}", images)
        similar = feature_figures.by_depth(summary, "trained", "cka.other_seeds")[:, depth]
        row["CKA: other seeds"] = over_pairs(similar) if np.isfinite(similar).all() else None
        row["CKA: start"] = _over(summary, depth, "trained", "cka.start")
        rows.append(row)
    return rows


def _unit_table(summary: "pd.DataFrame", found: Measured) -> list[dict[str, Any]]:
    rows = []
    for depth, layer in enumerate(found.layers):
        row: dict[str, Any] = {"layer": layer}
        for what in ("selectivity", "purity"):
            for task in feature_figures.tasks_of(summary):
                value = _over(summary, depth, "trained", f"{what}.{task}")
                chance = _over(summary, depth, "trained", f"{what}_by_chance.{task}")
                if value is None or chance is None:
                    break
                row[f"{what}: {task}"] = f"{format_interval(value)} ({100 * chance.mean:.0f})"
        if len(row) > 1:
            row["sparseness"] = _over(summary, depth, "trained", "sparseness")
            row["silent"] = _over(summary, depth, "trained", "silent")
            rows.append(row)
    return rows
