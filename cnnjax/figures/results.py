"""Figures of a run's results: scores with their intervals, and how training went."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from cnnjax.door import checked
from cnnjax.figures.style import GRID, INK, colors, draw_chance, frame, need, seeds_note, short_labels, styled, tidy
from cnnjax.stats.intervals import check_values, describe_methods, method_over_seeds

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

AFTER = (
    "Diamond: test images, with the lowest and the highest seed; the lines are of training images as they were shown."
)


@checked()
@styled()
def score_dots(
    scores: "pandas.DataFrame",
    *,
    title: str = "Scores",
    note: str = "",
    palette: Mapping[str, str] | None = None,
    chance: float | int | None = None,
) -> "Figure":
    """Several scores side by side: for each cell a dot at the mean and a bar over its interval.

    `scores` is tidy, with the columns cell, score, mean, low and high, in [0, 1] and shown in percent, and perhaps n,
    the number of seeds; NaN for low and high draws no bar. The scale is 0 to 100 % whatever is drawn. `note` goes under
    the figure, `palette` colours the cells, a dotted line stands at `chance`, such as `Dataset.chance`. Raises
    InputError for no rows, for a missing column, and for a chance outside [0, 1].
    """
    from matplotlib.figure import Figure

    need(scores, ("cell", "score", "mean", "low", "high"))
    cells, rows = list(dict.fromkeys(scores["cell"])), list(dict.fromkeys(scores["score"]))
    shades = palette or colors(cells)
    by, labels = short_labels(cells)
    figure = Figure(figsize=(7.5, 1.35 + len(rows) * (0.22 + 0.14 * len(cells))), layout="constrained")
    axes = figure.subplots()
    apart = 0.7 / len(cells)
    for i, cell in enumerate(cells):
        mine = scores[scores["cell"] == cell]
        mean, low, high = (np.asarray(mine[name], dtype=float) * 100 for name in ("mean", "low", "high"))
        height = np.array([rows.index(score) for score in mine["score"]]) + (i - (len(cells) - 1) / 2) * apart
        axes.hlines(height, low, high, color=shades[cell], linewidth=2, alpha=0.55)
        axes.plot(mean, height, "o", color=shades[cell], markersize=5.5, label=labels[cell])
    tidy(axes, grid="x")
    for edge in range(len(rows) - 1):
        axes.axhline(edge + 0.5, color=GRID, linewidth=0.6)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("%")
    axes.set_xlim(-1, 101)
    dotted = draw_chance(axes, chance, upright=True)
    legend = "Dot: mean; bar: interval."
    if "n" in scores:
        counts = {int(n) for n in scores["n"]}
        least, most = min(counts), max(counts)
        kinds = describe_methods(method_over_seeds(n) for n in counts if n > 1)
        bar = f"; bar: 95 % {kinds} interval" if kinds else ""
        two = " Of two seeds the interval says little." if 2 in counts else ""
        legend = f"Dot: mean over {least if least == most else f'{least} to {most}'} seed{'s' * (most > 1)}{bar}.{two}"
    frame(figure, title + by, [legend, *dotted, note], axes)
    return figure


@checked()
@styled()
def training_curves(
    metrics: "pandas.DataFrame",
    *,
    loss: str = "loss",
    accuracy: str = "accuracy",
    title: str = "Training",
    note: str = "",
    palette: Mapping[str, str] | None = None,
    tests: Mapping[str, ArrayLike] | None = None,
    chance: float | int | None = None,
) -> "Figure":
    """Loss and accuracy against the epoch, for each cell a line and a band over seeds.

    `metrics` has the columns cell, seed, epoch, the one called `loss` (on a logarithmic axis) and the one called
    `accuracy` (in [0, 1], shown in percent); rows that lack one are left out. The line is the mean, the band reaches
    from the lowest to the highest seed. `tests` has by cell the accuracies (seeds,) on test images after the last
    epoch, which stand there as diamonds; a dotted line stands at `chance`, such as `Dataset.chance`. Raises InputError
    for no rows, for a missing column, for tests that are not shares, and for a chance outside [0, 1].
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    columns = ["cell", "seed", "epoch", loss, accuracy]
    need(metrics, columns)
    rows = metrics.dropna(subset=columns)
    need(rows, columns)
    cells = list(dict.fromkeys(rows["cell"]))
    shades = palette or colors(cells)
    by, labels = short_labels(cells)
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, column, factor in zip(panels, (loss, accuracy), (1, 100), strict=True):
        for cell in cells:
            by_epoch = rows[rows["cell"] == cell].groupby("epoch")[column].agg(["mean", "min", "max"]) * factor
            epochs = by_epoch.index.to_numpy()
            marker = "o" if len(epochs) == 1 else ""
            axes.plot(epochs, by_epoch["mean"], color=shades[cell], label=labels[cell], marker=marker)
            axes.fill_between(epochs, by_epoch["min"], by_epoch["max"], color=shades[cell], alpha=0.18, linewidth=0)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        tidy(axes)
    if min(rows[loss]) > 0:
        panels[0].set_yscale("log")
        panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[0].yaxis.set_minor_locator(NullLocator())
        panels[0].yaxis.set_major_formatter("{x:g}")
    panels[0].set_ylabel(loss.replace("_", " "))
    panels[1].set_ylabel(f"{accuracy.replace('_', ' ')} (%)")
    panels[1].set_ylim(0, 101)
    for cell, values in (tests or {}).items():
        right = check_values(f"tests[{cell!r}]", values, ("seeds",)) * 100
        if cell in cells:
            last = rows.loc[rows["cell"] == cell, "epoch"].max()
            panels[1].vlines(last, right.min(), right.max(), color=shades[cell], linewidth=1.2)
            panels[1].plot(last, right.mean(), "D", color=shades[cell], markerfacecolor="white", markersize=5, zorder=3)
    after = [AFTER] if tests else []
    dotted = draw_chance(panels[1], chance)
    seeds = seeds_note(list(rows.groupby("cell")["seed"].nunique()))
    frame(figure, title + by, [seeds, *after, *dotted, note], panels[0])
    return figure
