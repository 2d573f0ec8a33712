"""The figure of the sample complexity experiment: images needed against k and against d, with fitted slopes."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.figures.style import colors, frame, styled, tidy
from cnnjax.stats import Interval, over_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORDS = {"k": "patches of an image, k", "d": "numbers in a patch, d"}


@styled()
def needs_figure(
    found: Sequence[Any],
    axes: Sequence[Any],
    slopes: Mapping[tuple[str, str], Any],
    names: Mapping[str, str],
    bounds: Mapping[str, Callable[[Any, Any], Any]],
    *,
    target: float,
    noise: float,
) -> "Figure":
    """Images to the target error against each axis: means with intervals, the fitted line with its exponent, a bound.

    `found` are `Measured`, `axes` are `Axis`, `slopes` intervals by kind and axis, or None; `bounds`
    functions of k and d by kind, drawn through the first mean.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure = Figure(figsize=(9.0, 4.8), layout="constrained")
    panels = figure.subplots(1, len(axes), sharey=True)
    kinds = list(dict.fromkeys(one.kind for one in found))
    shades = colors(kinds)
    for panel, axis in zip(panels, axes, strict=True):
        sizes = sorted({getattr(one, axis.field) for one in found if getattr(one, axis.fixed) == axis.at})
        for kind in kinds:
            mine = [one for one in found if one.kind == kind and getattr(one, axis.fixed) == axis.at and one.reached]
            if mine:
                mine.sort(key=lambda one, axis=axis: getattr(one, axis.field))
                x = np.array([getattr(one, axis.field) for one in mine], float)
                _draw(panel, x, [over_seeds(np.log(one.images)) for one in mine], shades[kind], names[kind])
                bound = np.array([bounds[kind](one.patches, one.dimension) for one in mine])
                first = mine[0].images
                panel.plot(x, np.exp(np.log(first).mean()) * bound / bound[0], "--", color=shades[kind], linewidth=1)
                _fitted(panel, x, [np.log(one.images).mean() for one in mine], slopes[kind, axis.name], shades[kind])
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xlim(sizes[0] / 1.25, sizes[-1] * (sizes[-1] / sizes[0]) ** 0.4)  # room for the exponents
        panel.set_xticks(sizes, [f"{size}" for size in sizes])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        panel.yaxis.set_minor_locator(NullLocator())
        panel.set_xlabel(WORDS[axis.name])
        panel.set_title(f"{'d' if axis.name == 'k' else 'k'} = {axis.at}")
        tidy(panel)
    panels[0].set_ylabel(f"images to an error of {100 * target:g} %")
    notes = [
        f"Dot: geometric mean of {len(found[0].images)} repetitions; bar: its 95 % interval; line and number: fitted "
        "exponent. Dashed: theory, up to a constant: CNN at most k + d, LCN at least k d, FCN at least k² d.",
        f"Noise σ = {noise:g} of a signal of length 1.",
    ]
    frame(figure, "Images that a network needs to find a signal in one patch of k", notes, panels[0])
    return figure


def _draw(panel: "Axes", x: np.ndarray, logarithms: Sequence[Interval], shade: str, name: str) -> None:
    mean, low, high = (np.exp([interval[part] for interval in logarithms]) for part in range(3))
    panel.vlines(x, low, high, color=shade, linewidth=2.5, alpha=0.5)
    panel.plot(x, mean, "o", color=shade, markersize=5, label=name)


def _fitted(panel: "Axes", x: np.ndarray, means: Sequence[float], slope: Interval | None, shade: str) -> None:
    if slope is None:
        return
    line = np.exp(np.mean(means) + slope.mean * (np.log(x) - np.log(x).mean()))
    panel.plot(x, line, color=shade, linewidth=1.2)
    half = (slope.high - slope.low) / 2
    text = f"{slope.mean:.2f}" + (f" ± {half:.2f}" if np.isfinite(half) else "")
    place: Any = dict(xytext=(8, 0), textcoords="offset points", ha="left", va="center", color=shade, fontsize=8.5)
    panel.annotate(text, (x[-1], line[-1]), **place)
