"""The figure of the sample complexity experiment: images needed against k and against d, with fitted slopes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.figures.style import INK, colors, frame, styled, tidy
from cnnjax.stats import over_seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {"k": "patches of an image, k", "d": "numbers in a patch, d"}


@styled()
def needs_figure(
    found: Sequence[Any],
    axes: Sequence[Any],
    slopes: Mapping[tuple[str, str], Any],
    names: Mapping[str, str],
    *,
    target: float,
    noise: float,
) -> "Figure":
    """Images to the target error against each axis: means with intervals, the fitted line, and its slope beside it.

    `found` are `report.Measured`, `axes` are `report.Axis`, `slopes` intervals by kind and axis, or None.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    panels = figure.subplots(1, len(axes), sharey=True)
    kinds = list(dict.fromkeys(one.kind for one in found))
    shades = colors(kinds)
    for panel, axis in zip(panels, axes, strict=True):
        for kind in kinds:
            mine = [one for one in found if one.kind == kind and getattr(one, axis.fixed) == axis.at and one.reached]
            mine.sort(key=lambda one, axis=axis: getattr(one, axis.field))
            if not mine:
                continue
            x = np.array([getattr(one, axis.field) for one in mine], float)
            means = np.array([np.log(one.images).mean() for one in mine])
            intervals = [over_seeds(np.log(one.images)) for one in mine]
            low, high = (np.exp([interval[end] for interval in intervals]) for end in (1, 2))
            panel.vlines(x, low, high, color=shades[kind], linewidth=2.5, alpha=0.5)
            panel.plot(x, np.exp(means), "o", color=shades[kind], markersize=5, label=names[kind])
            fitted = slopes[kind, axis.name]
            if fitted is not None:
                line = np.exp(means.mean() + fitted.mean * (np.log(x) - np.log(x).mean()))
                panel.plot(x, line, color=shades[kind], linewidth=1.1)
                half = (fitted.high - fitted.low) / 2
                text = f"{names[kind]}  ∝ {axis.name}$^{{{fitted.mean:.2f}}}$" + (
                    f" ± {half:.2f}" if np.isfinite(half) else ""
                )
                panel.annotate(
                    text,
                    (x[-1], line[-1]),
                    xytext=(-8, 6),
                    textcoords="offset points",
                    ha="right",
                    color=INK,
                    fontsize=8,
                )
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        sizes = sorted({getattr(one, axis.field) for one in found if getattr(one, axis.fixed) == axis.at})
        panel.set_xticks(sizes, [f"{size}" for size in sizes])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        panel.yaxis.set_minor_locator(NullLocator())
        panel.set_xlabel(WORDS[axis.name])
        panel.set_title(f"{'d' if axis.name == 'k' else 'k'} = {axis.at}")
        tidy(panel)
    panels[0].set_ylabel(f"images to an error of {100 * target:g} %")
    repetitions = len(found[0].images)
    notes = [
        f"Dot: geometric mean of {repetitions} repetitions; bar: its 95 % interval; line: fitted slope, with its interval.",
        f"Noise σ = {noise:g} of a signal of length 1.",
    ]
    frame(figure, "Images that a network needs to find a signal in one patch of k", notes, panels[0])
    return figure
