"""From measured gradients to tables and pictures: how the learning signal changes from layer to layer."""

from collections.abc import Mapping, Sequence
from typing import Any

from cnnjax.data import Dataset
from cnnjax.figures import save
from cnnjax.runs import RunDirectory, Table, show_tables
from experiments.gradients.cells import GradientPlan
from experiments.shared import learning_signal_figures as figures
from experiments.shared.learning_signal import (
    FACTOR,
    QUANTITIES,
    Measured,
    over_finite_seeds,
    per_layer,
    signal_row,
    summary_rows,
    trained_row,
)


def write(run: RunDirectory, plans: Sequence[GradientPlan], results: Mapping[str, Measured], dataset: Dataset) -> None:
    """Print the tables and write them, `summary.csv`, `layers.csv` and the figures.

    The summary has a row for each cell, seed and step; the layers one for each layer in each of those.
    """
    import pandas as pd

    about = {plan.name: {"cell": plan.name, "question": plan.question, **plan.settings} for plan in plans}
    summary = [row for plan in plans for row in summary_rows(results[plan.name], about[plan.name], plan.numbers)]
    run.write_table("summary", pd.DataFrame(summary))
    layers = pd.DataFrame([row for plan in plans for row in _layers(plan, results[plan.name])])
    run.write_table("layers", layers)
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
    figure_of = {"start": figures.start, "activations": figures.activations, "training": figures.training}
    for question, mine in of.items():
        save(figure_of[question](mine, results, note=dataset.note), run.figures / f"{question}.png")


def _layers(plan: GradientPlan, found: Measured) -> list[dict[str, Any]]:
    kinds = {"map": (found.maps, found.map_gradient, 2), "kernel": (found.kernels, found.kernel_gradient, 1)}
    return [
        {"cell": plan.name, "seed": seed, "step": step, "kind": kind, "layer": name, "depth": 1 + apart * index}
        | {"gradient": float(gradient[i, s, index])}
        | {"rms": float(found.map_rms[i, s, index]) if kind == "map" else None}
        for i, step in enumerate(found.steps)
        for s, seed in enumerate(plan.numbers)
        for kind, (names, gradient, apart) in kinds.items()
        for index, name in enumerate(names)
    ]


def _crossed(plans: Sequence[GradientPlan], results: Mapping[str, Measured]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for plan in plans:
        row = rows.setdefault(plan.settings["activation"], {"activation": plan.settings["activation"]})
        row[plan.settings["init"]] = over_finite_seeds(per_layer(results[plan.name].map_gradient[0]))
    return list(rows.values())
