"""From networks that downsample in different ways to tables and pictures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax import analysis
from cnnjax.data import Dataset
from cnnjax.figures import colors, save
from cnnjax.figures.style import GRID, INK, draw_chance, frame, styled, tidy
from cnnjax.runs import Table, show_tables
from cnnjax.stats import Interval, over_seeds
from cnnjax.stats.intervals import describe_methods, method_over_seeds
from cnnjax.sweep.cells import Sweep
from cnnjax.sweep.paired import write_comparisons
from cnnjax.sweep.scores import score, score_interval, write_scores
from cnnjax.sweep.traced import cost_of
from experiments.shared.fitting import TRAINING, training_accuracy, training_interval, unfitted
from experiments.stride.cells import StridePlan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Terms = Mapping[str, Mapping[str, np.ndarray]]
Columns = Mapping[str, Mapping[str, Any]]

SCORES = {
    "accuracy": "test.accuracy",
    "worst": "shift_zero.worst_accuracy",
    "circular": "shift_circular.consistency",
    "zero": "shift_zero.consistency",
    "crop": "shift_crop.consistency",
    "sub-pixel": "shift_subpixel.consistency",
}
"""Columns of the table, and the scores in them: accuracy, that under every shift, then consistency by what comes in."""

ACCURACIES = ("accuracy", "worst")

SPLIT = ("aliasing", "border", "content")


def write(of: Sweep, plans: Sequence[StridePlan], terms: Terms) -> None:
    """Print the tables and write them, `summary.csv`, `scores.csv`, `comparisons.csv` and the figures.

    The comparisons are of each way to downsample with the maximum pool, under the same padding and augmentation.
    """
    run, dataset, protocol = of.run, of.dataset, of.protocol
    assert protocol is not None
    more = {cell: {f"terms.{term}": values for term, values in found.items()} for cell, found in terms.items()}
    columns = write_scores(of, more=more)
    pooled = {(plan.padding, plan.augmentation): plan.cell.name for plan in plans if plan.downsample == "max"}
    pairs = [(plan.cell.name, pooled.get((plan.padding, plan.augmentation))) for plan in plans]
    write_comparisons(run, [*SCORES.values()], [(cell, pool) for cell, pool in pairs if pool not in (None, cell)])
    done = [plan for plan in plans if plan.cell.name in columns]
    fits = training_accuracy(of)
    rows = [
        _row(plan, columns[plan.cell.name], terms.get(plan.cell.name), training_interval(fits, plan.cell.name))
        for plan in done
    ]
    measured = min(protocol.images, len(dataset.test.images))
    about = (
        f"Consistency: the share of shifts of up to {protocol.max_shift} px that leave the answer alone, by what comes "
        f"in, all of {measured} test images under each; crop: windows of real pixels; sub-pixel: by quarters of one. "
        "Worst: the share of images right under every shift with zeros. "
        f"Protocol {analysis.PROTOCOL}; margin {dataset.margin} px. Aliasing, border, content: what each changes in "
        f"the scores under one shift, as a part of their norm; they add up as vectors. {TRAINING} "
        f"{dataset.note.rstrip('.')}."
    )
    tables = [Table(rows, "Downsampling, in percent", about, percent=True)]
    if replaced := _replaced(done, columns, dataset):
        cost = (
            "A stride less the maximum pool, seed by seed, in percentage points; multiply-adds: those of the strided "
            "network, as a part of the pooled one's."
        )
        tables.append(Table(replaced, "What a stride in place of pooling costs", cost, percent=True))
    show_tables(run, tables, notes=[_exact(done, columns), *unfitted(fits), *of.failures])
    save(scores_figure(rows, note=f"{dataset.note}.", chance=dataset.chance), run.figures / "scores.png")
    if terms:
        save(terms_figure(rows, note=f"{dataset.note}."), run.figures / "terms.png")


def _row(
    plan: StridePlan, columns: Mapping[str, Any], terms: Mapping[str, np.ndarray] | None, fit: Interval | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"padding": plan.padding, "downsample": plan.downsample, "augmentation": plan.augmentation}
    for title, name in SCORES.items():
        row[title] = score_interval(columns, name)
        if title == "accuracy":
            row["training"] = fit
    return row | {term: None if terms is None else over_seeds(terms[term]) for term in SPLIT}


def _replaced(plans: Sequence[StridePlan], columns: Columns, dataset: Dataset) -> list[dict[str, Any]]:
    of = {(plan.padding, plan.augmentation, plan.downsample): plan for plan in plans}
    rows = []
    for padding, augmentation in dict.fromkeys((plan.padding, plan.augmentation) for plan in plans):
        pair = [of.get((padding, augmentation, kind)) for kind in ("stride", "max")]
        strided, pooled = pair
        if strided is None or pooled is None:
            continue
        row: dict[str, Any] = {"padding": padding, "augmentation": augmentation}
        for title, name in SCORES.items():
            values = [score(columns[plan.cell.name], name) for plan in (strided, pooled)]
            row[title] = None if values[0] is None or values[1] is None else over_seeds(values[0] - values[1])
        costs = [cost_of(plan.cell.model, dataset.train.images.shape[1:]) for plan in (strided, pooled)]
        row["multiply-adds"] = costs[0].multiply_adds / costs[1].multiply_adds
        rows.append(row)
    return rows


def _exact(plans: Sequence[StridePlan], columns: Columns) -> str:
    """Which cells answer every circular shift of every image alike, whatever the seed."""
    found = [(plan, score(columns[plan.cell.name], "shift_circular.consistency")) for plan in plans]
    exact = [plan for plan, values in found if values is not None and (values == 1).all()]
    names = [f"{plan.downsample} with {plan.padding} padding, augmentation {plan.augmentation}" for plan in exact]
    return f"Every circular shift leaves every answer alone, for every seed: {'; '.join(names) or 'in no cell'}."


@styled()
def scores_figure(rows: Sequence[Mapping[str, Any]], *, note: str, chance: float) -> "Figure":
    """Accuracy and consistencies of every way to downsample; a row of panels for each augmentation."""
    from matplotlib.figure import Figure

    shown = [title for title in SCORES if any(row[title] is not None for row in rows)]
    axes_of = ("augmentation", "padding", "downsample")
    augmentations, paddings, kinds = (list(dict.fromkeys(row[name] for row in rows)) for name in axes_of)
    made, dotted = [method_over_seeds(row["accuracy"].n) for row in rows], []
    figure = Figure(figsize=(11.5, 1.0 + len(augmentations) * (0.7 + 0.3 * len(kinds))), layout="constrained")
    panels = figure.subplots(len(augmentations), len(shown), sharey=True, squeeze=False)
    shades = colors(paddings)
    for line, augmentation in zip(panels, augmentations, strict=True):
        for axes, title in zip(line, shown, strict=True):
            for i, padding in enumerate(paddings):
                mine = [r for r in rows if (r["augmentation"], r["padding"]) == (augmentation, padding)]
                _dots(axes, mine, title, kinds, (i - (len(paddings) - 1) / 2) * 0.7 / len(paddings), shades[padding])
            axes.set_xlim(-1, 101)
            if title in ACCURACIES:
                dotted = draw_chance(axes, chance, upright=True)
            axes.set_title(title if title in ACCURACIES else f"{title} shifts")
            axes.set_xlabel("%")
        line[0].set_ylabel(f"augmentation: {augmentation}")
    _rows_of(panels, kinds)
    frame(
        figure,
        "Ways to halve a map, by padding: accuracy, and consistency under four kinds of shift",
        [
            f"Dot: mean; bar: 95 % {describe_methods(made)} interval over seeds. Worst: right under every shift.",
            *dotted,
            note,
        ],
        panels[0, 0],
    )
    return figure


def _dots(
    axes: "Axes", rows: Sequence[Mapping[str, Any]], title: str, kinds: Sequence[str], offset: float, shade: str
) -> None:
    values: list[tuple[int, Interval]] = [
        (kinds.index(row["downsample"]), row[title]) for row in rows if row[title] is not None
    ]
    height = [place + offset for place, _ in values]
    low, high = ([100 * value[end] for _, value in values] for end in (1, 2))
    axes.hlines(height, low, high, color=shade, alpha=0.55, linewidth=2)
    label = rows[0]["padding"] if rows else ""
    axes.plot([100 * v.mean for _, v in values], height, "o", color=shade, markersize=5, label=label)


def _rows_of(panels: np.ndarray, kinds: Sequence[str]) -> None:
    for axes in panels.flat:
        tidy(axes, grid="x")
        for edge in range(len(kinds) - 1):
            axes.axhline(edge + 0.5, color=GRID, linewidth=0.6)
        axes.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(kinds) - 0.5, -0.5)
        axes.spines["left"].set_visible(False)


@styled()
def terms_figure(rows: Sequence[Mapping[str, Any]], *, note: str) -> "Figure":
    """Aliasing, border and content of every way to downsample, without augmentation; a panel for each padding."""
    from matplotlib.figure import Figure

    split = [row for row in rows if row["aliasing"] is not None]
    first = split[0]["augmentation"]
    split = [row for row in split if row["augmentation"] == first]
    paddings = list(dict.fromkeys(row["padding"] for row in split))
    kinds = list(dict.fromkeys(row["downsample"] for row in split))
    figure = Figure(figsize=(3.2 * len(paddings) + 1.4, 1.2 + 0.42 * len(kinds)), layout="constrained")
    panels = figure.subplots(1, len(paddings), sharey=True, sharex=True, squeeze=False)
    shades = colors(SPLIT)
    for axes, padding in zip(panels.flat, paddings, strict=True):
        for i, term in enumerate(SPLIT):
            mine = [row for row in split if row["padding"] == padding]
            height = [kinds.index(row["downsample"]) + (i - 1) * 0.26 for row in mine]
            axes.barh(height, [100 * row[term].mean for row in mine], 0.24, color=shades[term], label=term)
        axes.set_title(f"{padding} padding")
        axes.set_xlabel("change of the scores (%)")
    _rows_of(panels, kinds)
    notes = [f"Augmentation: {first}. Mean over seeds.", note]
    frame(figure, "Why the scores change under a shift", notes, panels[0, 0])
    return figure
