"""Figures of the first layer's towers: their filters, what these prefer, and how far the towers lie apart."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cnnjax.figures.style import FAINT, INK, colors, frame, styled, tidy
from experiments.alexnet.separation import Separation

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {"two_towers": "two towers", "no_exchange": "no exchange", "one_tower": "one tower"}
TITLES = {"chroma": "chroma", "orientation": "orientation selectivity"}
ACROSS = 6
"""Filters in a row of the grid of a tower."""


def draw(
    filters: "pd.DataFrame",
    kernels: Mapping[str, np.ndarray],
    apart: Mapping[str, Mapping[str, Separation]],
    networks: Mapping[str, str],
    *,
    note: str,
) -> "dict[str, Figure]":
    """The figures by name; `networks` says which network each shown cell has, `kernels` are of its first seed."""
    tables = {cell: filters.query("cell == @cell") for cell in networks}
    labels = {cell: NAMES[network] for cell, network in networks.items()}
    return {
        "filters": filter_figure(kernels, tables, labels, note=note),
        "values": value_figure(tables, labels, note=note),
        "separation": separation_figure(apart, labels, note=note),
    }


@styled()
def filter_figure(
    kernels: Mapping[str, np.ndarray], tables: "Mapping[str, pd.DataFrame]", labels: Mapping[str, str], *, note: str
) -> "Figure":
    """The first seed's filters: a row for each network, its two towers side by side, the greyest filters first."""
    from matplotlib.figure import Figure

    each = next(iter(kernels.values())).shape[-1] // 2
    rows, first = -(-each // ACROSS), min(next(iter(tables.values()))["seed"])
    figure = Figure(figsize=(7.2, 1.2 + len(kernels) * (0.55 * rows + 0.4)), layout="constrained")
    panels = figure.subplots(len(kernels), 2, squeeze=False)
    for line, (cell, kernel) in zip(panels, kernels.items(), strict=True):
        one = tables[cell].query("seed == @first")
        for tower, axes in enumerate(line):
            mine = one.query("tower == @tower").sort_values("chroma", na_position="first")
            axes.imshow(_grid(kernel[..., mine["filter"].to_numpy()], rows), interpolation="nearest")
            half = "half" if labels[cell] == NAMES["one_tower"] else "tower"
            axes.set_title(f"{labels[cell]}, {half} {tower + 1}: mean chroma {mine['chroma'].mean():.2f}", fontsize=9)
            axes.set_axis_off()
    about = f"Each filter scaled by its greatest weight; grey is zero. Greyest first, of the network of seed {first}."
    frame(figure, "Filters of the first layer", [about, _sentence(note)])
    return figure


def _grid(kernel: np.ndarray, rows: int) -> np.ndarray:
    """Filters (height, width, 3, filters) in rows of `ACROSS`, with white between them."""
    height, width, _, count = kernel.shape
    picture = np.ones((rows * (height + 1) - 1, ACROSS * (width + 1) - 1, 3))
    for index in range(count):
        one = kernel[..., index]
        top, left = index // ACROSS * (height + 1), index % ACROSS * (width + 1)
        greatest = np.abs(one).max()
        picture[top : top + height, left : left + width] = 0.5 + 0.5 * one / (greatest if greatest else 1)
    return picture


@styled()
def value_figure(tables: "Mapping[str, pd.DataFrame]", labels: Mapping[str, str], *, note: str) -> "Figure":
    """Every filter's chroma and orientation: a column for each seed, one tower left and the other right in it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(5.0, 3.0 * len(tables) + 0.6), 5.0), layout="constrained")
    panels = figure.subplots(2, len(tables), squeeze=False, sharey="row")
    shades = colors(["first", "second", "third"])
    for column, (cell, table) in zip(panels.T, tables.items(), strict=True):
        for axes, (what, title) in zip(column, TITLES.items(), strict=True):
            for tower, shade in enumerate((shades["second"], shades["third"])):
                mine = table[table["tower"] == tower]
                side = mine["seed"] + (tower - 0.5) * 0.36
                axes.plot(side, mine[what], "o", color=shade, markersize=3, alpha=0.6, label=f"tower {tower + 1}")
                for seed, values in mine.groupby("seed")[what]:
                    middle = float(seed) + (tower - 0.5) * 0.36  # pyright: ignore[reportArgumentType]
                    axes.hlines(values.mean(), middle - 0.14, middle + 0.14, color=INK, linewidth=1.6)
            tidy(axes, grid="y")
            axes.set_ylim(-0.02, 1.02)
            axes.set_xticks(sorted(set(table["seed"])))
            if axes in panels[:, 0]:
                axes.set_ylabel(title)
        column[0].set_title(labels[cell])
        column[1].set_xlabel("seed")
    frame(
        figure, "Filters of the two towers", ["Dot: a filter; bar: mean of the tower.", _sentence(note)], panels[0, 0]
    )
    return figure


@styled()
def separation_figure(
    apart: Mapping[str, Mapping[str, Separation]], labels: Mapping[str, str], *, note: str
) -> "Figure":
    """How far apart the towers of each network lie, before what random halves of the same filters give."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 2.0 + 0.55 * len(labels)), layout="constrained")
    panels = figure.subplots(1, len(TITLES), sharey=True)
    shade = colors(["chance", "networks", "mean"])
    for axes, (what, title) in zip(panels, TITLES.items(), strict=True):
        for row, cell in enumerate(labels):
            _line(axes, row, apart[cell][what], shade)
        axes.set_title(title)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("separation of the towers")
        tidy(axes, grid="x")
        axes.set_yticks(range(len(labels)), list(labels.values()))
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
        axes.set_ylim(len(labels) - 0.5, -0.5)
    about = (
        "Band: lowest to 95 % of the mean over networks of random halves of the same filters; where the networks' own "
        "mean lies in it, chance would do. Of one tower its halves."
    )
    frame(figure, "Do the towers separate?", [about, _sentence(note)], panels[0])
    return figure


def _sentence(note: str) -> str:
    return f"Images: {note}."


def _line(axes: "Axes", row: int, found: Separation, shade: Mapping[str, str]) -> None:
    low, high = np.quantile(found.by_chance.mean(0), [0, 0.95])
    band = "random halves"
    axes.barh(row, high - low, left=low, height=0.5, color=FAINT, alpha=0.3, label=band if row == 0 else None)
    axes.plot(
        found.observed,
        np.full(len(found.observed), row),
        "o",
        color=shade["networks"],
        markersize=4,
        alpha=0.7,
        label="a network" if row == 0 else None,
    )
    axes.plot(
        [found.observed.mean()] * 2,
        [row - 0.3, row + 0.3],
        color=shade["mean"],
        linewidth=2,
        label="their mean" if row == 0 else None,
    )
