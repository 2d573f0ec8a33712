"""The figure of the MNIST-rot experiment: test errors beside the published ones, in all and digit by digit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cnnjax.figures.style import FAINT, colors, draw_chance, frame, styled, tidy
from cnnjax.stats import over_seeds
from cnnjax.stats.intervals import describe_methods, method_over_seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled()
def errors_figure(
    correct: Mapping[str, np.ndarray], published: Mapping[str, float], labels: np.ndarray, *, note: str, chance: float
) -> "Figure":
    """Test errors of each network with those published, from 0 to 100 % and enlarged; and by class, enlarged.

    `correct` maps networks to 1 where an answer is right and 0 where it is not, (seeds, images); `published` has the
    errors of those that have any; `labels` are those of the images.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 4.2), layout="constrained")
    whole, left, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.5))
    shades, classes = colors([*correct]), np.unique(labels)
    wide = 0.8 / len(correct)
    for place, (name, values) in enumerate(correct.items()):
        errors = 100 * (1 - values.mean(1))
        found = over_seeds(errors)
        for axes in (whole, left):
            axes.plot(np.full(len(errors), place + 0.16), errors, "o", color=shades[name], alpha=0.35, markersize=3.5)
            if np.isfinite(found.low):
                ends = max(found.low, 0), min(found.high, 100)
                axes.vlines(place, *ends, color=shades[name], linewidth=2.5, alpha=0.6)
            axes.plot(place, found.mean, "o", color=shades[name], markersize=6)
            if name in published:
                axes.plot(place - 0.16, 100 * published[name], "D", color=FAINT, fillstyle="none", markersize=6)
        by_class = [100 * (1 - values[:, labels == one].mean()) for one in classes]
        where = np.arange(len(classes)) + (place - (len(correct) - 1) / 2) * wide
        right.bar(where, by_class, wide * 0.9, color=shades[name], label=name)
    for axes in (whole, left):
        axes.set_xlim(-0.6, len(correct) - 0.4)
        axes.set_xticks(range(len(correct)), [name.replace(", ", ",\n").replace(" ", "\n") for name in correct])
    dotted = draw_chance(whole, chance, errors=True)
    whole.set_ylim(0, 101)
    whole.set_title("All test images")
    whole.set_ylabel("test error (%)")
    left.set_ylim(bottom=0)
    left.set_title("The same, enlarged")
    right.set_xticks(range(len(classes)), [f"{one}" for one in classes])
    right.set_ylim(bottom=0)
    right.set_title("By class, enlarged")
    right.set_xlabel("class")
    for axes in (whole, left, right):
        tidy(axes, grid="y")
    seeds = next(iter(correct.values())).shape[0]
    bars = f"bar: 95 % {describe_methods([method_over_seeds(seeds)])} interval over {seeds} seeds, small dots" * (
        seeds > 1
    )
    beside = "; diamond: published, of MNIST-rot" if published else ""
    notes = [f"Large dot and column: mean; {bars or 'small dot'}: each network{beside}.", *dotted, note]
    frame(figure, "Turned digits: pooling over rotations never, in every layer, or at the end", notes, right)
    return figure
