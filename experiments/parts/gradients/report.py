"""From measured gradients to tables and pictures: how the learning signal changes from layer to layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnnjax.data import Dataset
from cnnjax.files import write_atomic
from cnnjax.study import Interval, RunDirectory, Table, over_seeds, save
from experiments.common.tables import show_tables
from experiments.parts.gradients import figures
from experiments.parts.gradients.cells import GradientPlan, Measured

QUANTITIES = "At maps: the norm of the loss's gradient, over all units and images. At kernels: its root mean square."
FACTOR = (
    "Per layer: the factor by which the gradient at maps grows from one convolution to the one before it, fitted over "
    "all maps; below 1 it vanishes on its way to the input. First / last: the decimal logarithm of the gradient in the "
    "first layer over that in the last."
)


def per_layer(map_gradient: np.ndarray) -> np.ndarray:
    """The factor exp(−b) of the least-squares line a + b l through the logarithms of gradients (..., maps).

    Map 0 is that of convolution 1, and each other two convolutions further. NaN where a gradient is 0 or not finite.
    """
    layer = 2.0 * np.arange(map_gradient.shape[-1])
    layer -= layer.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(map_gradient)
        slope = logarithms @ layer / np.sum(layer**2)
    return np.where(np.isfinite(logarithms).all(-1), np.exp(-slope), np.nan)


def first_over_last(gradient: np.ndarray) -> np.ndarray:
    """The decimal logarithm of the first layer's gradient over the last's, of (..., layers); NaN as in `per_layer`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log10(gradient[..., 0]) - np.log10(gradient[..., -1])
    return np.where(np.isfinite(ratio), ratio, np.nan)


def write(run: RunDirectory, plans: Sequence[GradientPlan], results: Mapping[str, Measured], dataset: Dataset) -> None:
    """Print the tables and write them, `summary.csv`, `layers.csv` and the figures.

    The summary has a row for each cell, seed and step; the layers one for each layer in each of those.
    """
    import pandas as pd

    run.write_summary(pd.DataFrame([row for plan in plans for row in _summary(plan, results[plan.name])]))
    layers = pd.DataFrame([row for plan in plans for row in _layers(plan, results[plan.name])])
    write_atomic(run.path / "layers.csv", layers.to_csv(index=False, lineterminator="\n"))
    of: dict[str, list[GradientPlan]] = {}
    for plan in plans:
        of.setdefault(plan.question, []).append(plan)
    rows = [signal_row(plan, results[plan.name], 0) for plan in of["start"]]
    tables = [("At the start", f"{QUANTITIES} {FACTOR}", rows)]
    if "activations" in of:
        depth = of["activations"][0].settings["depth"]
        about = f"Per layer, as above: plain networks of {depth} layers without normalisation, at the start."
        tables.append(("Activations and initialisations", about, _crossed(of["activations"], results)))
    if "training" in of:
        steps = results[of["training"][0].name].steps[-1]
        rows = [trained_row(plan, results[plan.name]) for plan in of["training"]]
        tables.append((f"Before and after {steps} steps of training", "As above.", rows))
    show_tables(run, [Table(rows, title, about, digits=2) for title, about, rows in tables])
    for name, figure in figures.draw(plans, results, note=dataset.note).items():
        save(figure, run.figures / f"{name}.png")


def _summary(plan: GradientPlan, found: Measured) -> list[dict[str, Any]]:
    columns = {
        "loss": found.loss,
        "per_layer": per_layer(found.map_gradient),
        "maps_first_over_last": first_over_last(found.map_gradient),
        "kernels_first_over_last": first_over_last(found.kernel_gradient),
    }
    return [
        {"cell": plan.name, "question": plan.question, **plan.settings, "seed": seed, "step": step}
        | {name: float(values[i, seed]) for name, values in columns.items()}
        for i, step in enumerate(found.steps)
        for seed in range(plan.seeds)
    ]


def _layers(plan: GradientPlan, found: Measured) -> list[dict[str, Any]]:
    kinds = {"map": (found.maps, found.map_gradient, 2), "kernel": (found.kernels, found.kernel_gradient, 1)}
    return [
        {"cell": plan.name, "seed": seed, "step": step, "kind": kind, "layer": name, "depth": 1 + apart * index}
        | {"gradient": float(gradient[i, seed, index])}
        | {"rms": float(found.map_rms[i, seed, index]) if kind == "map" else None}
        for i, step in enumerate(found.steps)
        for seed in range(plan.seeds)
        for kind, (names, gradient, apart) in kinds.items()
        for index, name in enumerate(names)
    ]


def _interval(values: np.ndarray) -> Interval | None:
    """Over the seeds that have a value; None where none has."""
    finite = values[np.isfinite(values)]
    return over_seeds(finite) if len(finite) else None


def signal_row(plan: GradientPlan, found: Measured, i: int) -> dict[str, Any]:
    """A row of the table at the `i`-th of the measured steps."""
    return {
        **{name: plan.settings[name] for name in ("network", "norm", "depth")},
        "loss": _interval(found.loss[i]),
        "per layer": _interval(per_layer(found.map_gradient[i])),
        "maps: first / last": _interval(first_over_last(found.map_gradient[i])),
        "kernels: first / last": _interval(first_over_last(found.kernel_gradient[i])),
    }


def trained_row(plan: GradientPlan, found: Measured) -> dict[str, Any]:
    """A row of the table of the first and the last of the measured steps."""
    before, after = signal_row(plan, found, 0), signal_row(plan, found, len(found.steps) - 1)
    row: dict[str, Any] = {name: before.pop(name) for name in ("network", "norm", "depth")}
    for name in ("loss", "per layer", "kernels: first / last"):
        row |= {f"{name} before": before[name], f"{name} after": after[name]}
    return row


def _crossed(plans: Sequence[GradientPlan], results: Mapping[str, Measured]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for plan in plans:
        row = rows.setdefault(plan.settings["activation"], {"activation": plan.settings["activation"]})
        row[plan.settings["init"]] = _interval(per_layer(results[plan.name].map_gradient[0]))
    return list(rows.values())
