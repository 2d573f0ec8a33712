"""From trained networks of growing depth to tables and pictures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from cnnjax import analysis
from cnnjax.data import Dataset
from cnnjax.figures import colors, save
from cnnjax.figures.style import draw_chance, frame, seeds_note, styled, tidy
from cnnjax.runs import Table, show_tables
from cnnjax.stats import Interval, over_seeds
from cnnjax.sweep.cells import Sweep
from cnnjax.sweep.paired import write_comparisons
from cnnjax.sweep.scores import score, score_interval, write_scores
from cnnjax.sweep.traced import activations_of, cost_of, shapes_of
from experiments.depth.cells import DepthPlan, DepthResult
from experiments.shared import learning_signal_figures
from experiments.shared.fitting import training_figure, unfitted
from experiments.shared.learning_signal import FACTOR, QUANTITIES, Networks, summary_rows, trained_row
from experiments.shared.score_picture import score_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Results = Mapping[str, DepthResult]


def write(of: Sweep, plans: Sequence[DepthPlan], results: Results) -> None:
    """Print the tables and write them, `summary.csv`, `scores.csv`, `comparisons.csv`, `signal.csv` and the figures.

    The comparisons are of residual with plain networks of the same depth, and of each network with the least deep of
    its kind. The signal has a row for each cell, seed and measured step.
    """
    import pandas as pd

    run, dataset, protocol = of.run, of.dataset, of.protocol
    assert protocol is not None
    more = {name: _numbers(found) for name, found in results.items()}
    columns = write_scores(of, more=more)
    write_comparisons(run, COMPARED, _pairs(plans))
    done = [plan for plan in plans if plan.cell.name in results]
    about_cell = {
        plan.cell.name: {"cell": plan.cell.name, "network": plan.network, "depth": plan.depth} for plan in done
    }
    signals = pd.DataFrame(
        [row for name, about in about_cell.items() for row in summary_rows(results[name].signal, about, of.numbers)]
    )
    run.write_table("signal", signals)

    measured = min(protocol.images, len(dataset.test.images))
    about = (
        f"Layers see r × r pixels in the last map before pooling. {dataset.note.rstrip('.')}. Shifted: by every offset "
        f"up to {protocol.max_shift} px, zero fill, {measured} test images; protocol {analysis.PROTOCOL}."
    )
    errors = [_error_row(plan, results[plan.cell.name], columns[plan.cell.name], dataset) for plan in done]
    change = "Of the deepest networks less that of the shallowest, seed by seed; in percentage points."
    learning = [trained_row(_networks(plan, of.numbers), results[plan.cell.name].signal) for plan in done]
    explained = f"{QUANTITIES} {FACTOR}"
    tables = [Table(errors, "Errors, in percent", about, percent=True)]
    if changes := _changes(done, results, columns):
        tables.append(Table(changes, "What depth does to the error", change, percent=True))
    tables.append(Table(learning, "The learning signal, before and after training", explained, digits=2))
    fits = {plan.cell.name: 1 - results[plan.cell.name].training_error for plan in done}
    show_tables(run, tables, notes=[*unfitted(fits), *of.failures])
    _draw(of, done, results, columns)


COMPARED = ("train.error", "test.accuracy", "shift_zero.mean_accuracy", "shift_zero.consistency")


def _pairs(plans: Sequence[DepthPlan]) -> list[tuple[str, str]]:
    of = {(plan.network, plan.depth): plan.cell.name for plan in plans}
    shortcuts = [
        (cell, of["plain", depth])
        for (network, depth), cell in of.items()
        if network == "residual" and ("plain", depth) in of
    ]
    least = {plan.network: min(other.depth for other in plans if other.network == plan.network) for plan in plans}
    deeper = [(cell, of[network, least[network]]) for (network, depth), cell in of.items() if depth > least[network]]
    return shortcuts + deeper


def _numbers(found: DepthResult) -> dict[str, np.ndarray]:
    return {"train.error": found.training_error}


def _test_error(columns: Mapping[str, Any]) -> np.ndarray:
    accuracy = score(columns, "test.accuracy")
    assert accuracy is not None  # of all images, so always measured
    return 1 - accuracy


def _error_row(plan: DepthPlan, found: DepthResult, columns: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    cost = cost_of(plan.cell.model, dataset.train.images.shape[1:])
    row: dict[str, Any] = {
        "network": plan.network,
        "depth": plan.depth,
        "parameters": f"{cost.parameters:,}",
        "r": _field(plan, dataset),
        "training error": over_seeds(found.training_error, images=len(dataset.train.labels)),
        "test error": _error(columns, "test.accuracy"),
    }
    shown = {"shifted: mean error": "mean_accuracy", "worst": "worst_accuracy"}
    for title, key in shown.items():
        if (error := _error(columns, f"shift_zero.{key}")) is not None:
            row[title] = error
    if (same := score_interval(columns, "shift_zero.consistency")) is not None:
        row["consistency"] = same
    return row


def _error(columns: Mapping[str, Any], accuracy: str) -> Interval | None:
    """One less an accuracy."""
    if (found := score_interval(columns, accuracy)) is None:
        return None
    return found._replace(mean=1 - found.mean, low=1 - found.high, high=1 - found.low)


def _field(plan: DepthPlan, dataset: Dataset) -> int:
    """The side of the receptive field in the last map before pooling, in pixels."""
    images, variables = shapes_of(plan.cell.model, dataset.train.images.shape[1:])
    activations = activations_of(plan.cell.model, variables)

    def maps(x: jax.Array) -> Any:
        return {name: value for name, value in activations(x).items() if name.startswith("stage")}

    *_, last = analysis.receptive_field(maps, images).values()
    return int(last.size[0])


def _changes(plans: Sequence[DepthPlan], results: Results, columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for network in dict.fromkeys(plan.network for plan in plans):
        mine = sorted((plan for plan in plans if plan.network == network), key=lambda plan: plan.depth)
        if len(mine) > 1:
            low, high = mine[0].cell.name, mine[-1].cell.name
            training = results[high].training_error - results[low].training_error
            test = _test_error(columns[high]) - _test_error(columns[low])
            depths = f"{mine[0].depth} → {mine[-1].depth}"
            rows.append(
                {
                    "network": network,
                    "depth": depths,
                    "training error": over_seeds(training),
                    "test error": over_seeds(test),
                }
            )
    return rows


def _networks(plan: DepthPlan, numbers: range) -> Networks:
    return Networks(plan.cell.name, {"network": plan.network, "norm": "batch", "depth": plan.depth}, numbers)


def _draw(of: Sweep, plans: Sequence[DepthPlan], results: Results, columns: Mapping[str, Any]) -> None:
    run, dataset = of.run, of.dataset
    save(errors(plans, results, columns, note=dataset.note, chance=dataset.chance), run.figures / "errors.png")
    save(score_picture(of), run.figures / "scores.png")
    networks = [_networks(plan, of.numbers) for plan in plans]
    signals = {name: found.signal for name, found in results.items()}
    save(learning_signal_figures.start(networks, signals, note=dataset.note), run.figures / "gradients_start.png")
    save(learning_signal_figures.training(networks, signals, note=dataset.note), run.figures / "gradients_training.png")
    names = [plan.cell.name for plan in plans]
    if (figure := training_figure(of, names, palette=colors(names))) is not None:
        save(figure, run.figures / "training.png")


@styled()
def errors(
    plans: Sequence[DepthPlan], results: Results, columns: Mapping[str, Any], *, note: str, chance: float
) -> "Figure":
    """Training and test error against depth, a line and a band over seeds for plain and for residual networks.

    Above from 0 to 100 %, the scale of all runs; below enlarged.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 6.4), layout="constrained")
    panels, dotted = figure.subplots(2, 2, sharex=True, sharey="row"), []
    networks = list(dict.fromkeys(plan.network for plan in plans))
    shades = colors(["", *networks])
    depths = sorted({plan.depth for plan in plans})
    for column, title in zip(panels.T, ("training error", "test error"), strict=True):
        for network in networks:
            mine = sorted((plan for plan in plans if plan.network == network), key=lambda plan: plan.depth)
            values = np.stack(
                [
                    results[plan.cell.name].training_error
                    if title == "training error"
                    else _test_error(columns[plan.cell.name])
                    for plan in mine
                ]
            )
            x, percent = [plan.depth for plan in mine], 100 * values
            for axes in column:
                axes.plot(x, percent.mean(1), "o-", color=shades[network], label=network, markersize=4.5)
                axes.fill_between(x, percent.min(1), percent.max(1), color=shades[network], alpha=0.18, linewidth=0)
        column[0].set_title(title)
        column[1].set_xticks(depths)
        column[1].set_xlabel("layers")
        dotted = draw_chance(column[0], chance, errors=True)
        for axes in column:
            tidy(axes)
    panels[0, 0].set_ylim(0, 101)
    panels[0, 0].set_ylabel("%")
    panels[1, 0].set_ylim(bottom=0)  # of both: set sooner, it would keep the second panel from being looked at
    panels[1, 0].set_ylabel("%, enlarged")
    count = [len(found.training_error) for found in results.values()]
    frame(figure, "Errors against depth", [seeds_note(count), *dotted, note], panels[0, 0])
    return figure
