"""Figures of what networks cost: weights against the work that they do, and both against the size of the image."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.figures.style import FAINT, GRID, INK, colors, frame, styled, tidy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {
    "dense_map": "dense, to a map",
    "dense": "dense",
    "convolution": "convolution",
    "mlp": "MLP",
    "all_cnn_c": "All-CNN-C",
}
FORMULAS = {
    "dense_map": ("n⁴cm", "n⁴cm"),
    "dense": ("n²cm", "n²cm"),
    "convolution": ("k²cm", "n²k²cm"),
}
QUANTITIES = {"parameters": "weights", "multiply_adds": "multiply-adds for one image"}
FAMILIES = {
    "mlp": "dense",
    "lenet": "convolutions, then dense layers",
    "alexnet": "convolutions, then dense layers",
    "vgg": "convolutions, then dense layers",
    "cnn_c": "all convolutional",
    "resnet": "residual",
    "resnext": "residual",
    "plain": "residual",
    "group": "group convolutions",
    "vit": "transformer",
}
NEAR = ((7, 0, "left"), (-7, 0, "right"), (0, -12, "center"), (0, 12, "center"))
PLACES = (*NEAR, (-22, 26, "right"), (22, -26, "left"), (-14, 40, "right"), (22, -40, "left"))
"""Where a label may stand beside its point, best first."""


@styled()
def networks(table: "pd.DataFrame", *, note: str) -> "Figure":
    """Multiply-adds against parameters, and so how often each network uses a weight.

    `table` has the columns network, parameters and multiply_adds. A plain twin lies on its residual network and is
    left out where that is there.
    """
    from matplotlib.figure import Figure

    names = list(table["network"])
    figure = Figure(figsize=(9.0, 7.0), layout="constrained")
    axes = figure.subplots()
    shades = colors(list(dict.fromkeys(FAMILIES.values())))
    points = {
        name: (x, y)
        for name, x, y in zip(names, table["parameters"], table["multiply_adds"], strict=True)
        if name.replace("plain", "resnet") not in names or "plain" not in name
    }
    for family, shade in shades.items():
        if mine := [point for name, point in points.items() if _family(name) == family]:
            axes.plot(*zip(*mine, strict=True), "o", color=shade, markersize=6, label=family)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(0.12)
    _reuse_lines(axes)
    _si(axes.xaxis, axes.yaxis)
    axes.set_xlabel("parameters")
    axes.set_ylabel("multiply-adds for one image")
    tidy(axes, grid="")
    notes = [note, "Grey lines: how often an image uses a weight, on average."]
    if len(points) < len(names):
        notes.append("Plain twins lie on their residual networks.")
    frame(figure, "How often networks use their weights", notes, axes)
    _label(axes, points)
    return figure


def _family(name: str) -> str:
    # A group network is one first, whatever it is made of.
    return "group convolutions" if "group" in name else next(FAMILIES[part] for part in FAMILIES if part in name)


def _reuse_lines(axes: "Axes") -> None:
    """Diagonals of equal multiply-adds per parameter, labelled where they enter the axes."""
    limits = axes.get_xlim(), axes.get_ylim()
    (left, right), (low, _) = limits
    for times in (1, 10, 100, 1000, 10_000):
        axes.plot((left, right), (times * left, times * right), color=GRID, linewidth=0.8, zorder=0)
        start = max(left, low / times)
        place: Any = dict(xytext=(4, 6), textcoords="offset points", ha="left", va="bottom")
        axes.annotate(f"{times:,}×", (start, times * start), fontsize=7.5, color=FAINT, annotation_clip=True, **place)
    axes.set(xlim=limits[0], ylim=limits[1])


def _label(axes: "Axes", points: Mapping[str, tuple[float, float]]) -> None:
    """Write each name beside its point, in the first place that is free or else the last, at the end of a line."""
    from matplotlib.transforms import Bbox

    axes.figure.draw_without_rendering()  # pyright: ignore[reportAttributeAccessIssue]
    centers = axes.transData.transform(list(points.values()))
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in centers]
    for name, point in sorted(points.items(), key=lambda item: item[1]):
        for dx, dy, align in PLACES:
            place: Any = dict(xytext=(dx, dy), textcoords="offset points", ha=align, va="center")
            text = axes.annotate(name, point, fontsize=8, color=INK, **place)
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in taken) or (dx, dy, align) == PLACES[-1]:
                taken.append(box)
                if (dx, dy, align) not in NEAR:
                    line: Any = dict(arrowstyle="-", color=FAINT, linewidth=0.6, shrinkA=0, shrinkB=3)
                    axes.annotate("", point, xytext=(dx, dy), textcoords="offset points", arrowprops=line)
                break
            text.remove()


@styled()
def growth(table: "pd.DataFrame", *, channels: int, features: int, kernel_size: int) -> "Figure":
    """Weights and multiply-adds against the side of the image: one layer above, whole networks below.

    `table` has the columns side, what, parameters and multiply_adds.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(9.0, 7.2), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    shades = colors(["dense_map", "dense", "convolution"])
    shades |= {"mlp": shades["dense"], "all_cnn_c": shades["convolution"]}
    sides = np.array(sorted(set(table["side"])))
    n = np.geomspace(sides[0], sides[-1], 50)
    values = {"n⁴cm": n**4, "n²cm": n**2, "k²cm": kernel_size**2 + 0 * n, "n²k²cm": n**2 * kernel_size**2}
    rows = {"One layer": ("dense_map", "dense", "convolution"), "A network": ("mlp", "all_cnn_c")}
    for (title, whats), row in zip(rows.items(), panels, strict=True):
        for column, (axes, (quantity, unit)) in enumerate(zip(row, QUANTITIES.items(), strict=True)):
            for what in whats:
                counted = np.array([table.loc[table["what"].eq(what) & table["side"].eq(n), quantity] for n in sides])
                name = NAMES[what]
                if what in FORMULAS:
                    formula = FORMULAS[what][column]
                    name = f"{name}\n{formula}"
                    axes.plot(n, values[formula] * channels * features, color=shades[what])
                axes.plot(sides, counted, "o" if what in FORMULAS else "o-", color=shades[what], markersize=4.5)
                place: Any = dict(xytext=(8, 0), textcoords="offset points", va="center", annotation_clip=False)
                axes.annotate(name, (sides[-1], counted[-1, 0]), color=shades[what], fontsize=8.5, **place)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xticks(sides, [f"{side}" for side in sides])
            axes.xaxis.set_minor_locator(NullLocator())
            _si(axes.yaxis)
            tidy(axes)
            axes.set_title(f"{title}: {unit}")
    for axes in panels[1]:
        axes.set_xlabel("side n of the image, in pixels")
    notes = [
        f"One layer: from c = {channels} channels to m = {features} features, k = {kernel_size}.",
        "Dots: counted from the program; lines: the formula.",
    ]
    frame(figure, "Weights shared over the image: they stop growing with it, the multiplications go on", notes)
    return figure


@styled()
def matrices(found: Mapping[str, np.ndarray], *, signal: int, window: int) -> "Figure":
    """Each kind of connection as the matrix that a signal is multiplied by: a colour and a number for each weight.

    `found` maps the kind to the number of the weight at each place (units, pixels); 0 is none.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    titles = {"dense": "Dense", "local": "Local, each its own", "convolution": "Convolution: local and shared"}
    figure = Figure(figsize=(9.0, 4.1), layout="constrained")
    for axes, (kind, weights) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        count = len(np.unique(weights[weights > 0]))
        shades = matplotlib.colormaps["viridis"].resampled(count + 1)
        for (row, column), weight in np.ndenumerate(weights):
            colour = shades(int(weight) - 1) if weight else "white"
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor=GRID, linewidth=0.8))
            if weight:
                light = int(weight) - 1 > 0.55 * count
                place: Any = dict(ha="center", va="center", fontsize=8, color=INK if light else "white")
                axes.text(column + 0.5, row + 0.5, f"{weight}", **place)
        axes.set(xlim=(0, signal), ylim=(signal, 0), aspect="equal", xlabel="pixel", ylabel="unit")
        ticks = np.arange(signal) + 0.5
        axes.set_xticks(ticks, range(1, signal + 1))
        axes.set_yticks(ticks, range(1, signal + 1))
        tidy(axes, grid="")
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_title(f"{titles[kind]}\n{count} weight{'s' * (count > 1)}")
    notes = [
        f"Matrices of layers from {signal} pixels to {signal} units. One number and colour: one weight. White: none.",
        f"Windows of {window}, zeros beyond the border.",
    ]
    frame(figure, f"From {signal} pixels to {signal} units: {signal**2} weights, or {window}", notes)
    return figure


def _si(*found: Any) -> None:
    from matplotlib.ticker import EngFormatter, NullLocator

    for axis in found:
        axis.set_major_formatter(EngFormatter())
        axis.set_minor_locator(NullLocator())
