"""The picture of networks under sub-pixel shifts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnnjax.figures import colors
from cnnjax.figures.style import frame, seeds_note, styled, tidy
from experiments.subpixel.cells import ALL, FINEST, Moved, SubpixelPlan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DASHED = {"learned_polyphase": "polyphase", "alias_free_quadratic": "alias_free_gelu", "alias_free_relu": "low_pass"}
"""Networks that have the colour of another of their family."""
_SHADES = colors([kind for kind in ALL if kind not in DASHED])
PADDINGS = {"circular": "circular padding", "same": "zeros at the border"}


def _look(kind: str) -> dict[str, str]:
    return {"color": _SHADES[DASHED.get(kind, kind)], "linestyle": "--" if kind in DASHED else "-"}


@styled()
def distance_figure(plans: Sequence[SubpixelPlan], moved: Mapping[str, Moved], *, note: str) -> "Figure":
    """Consistency against the distance of a shift, a line for each network, a panel for each padding."""
    from matplotlib.figure import Figure

    farthest = next(iter(moved.values())).agree.shape[1] / FINEST
    paddings = list(dict.fromkeys(plan.padding for plan in plans))
    figure = Figure(figsize=(4.6 * len(paddings) + 0.6, 4.6), layout="constrained")
    panels = figure.subplots(1, len(paddings), sharey=True, squeeze=False)[0]
    for axes, padding in zip(panels, paddings, strict=True):
        for plan in (plan for plan in plans if plan.padding == padding):
            agree = 100 * moved[plan.cell.name].agree
            distance, look = np.arange(agree.shape[1]) / FINEST, _look(plan.network)
            axes.plot(distance, agree.mean(0), label=plan.network.replace("_", " "), **look)
            axes.fill_between(distance, agree.min(0), agree.max(0), color=look["color"], alpha=0.12, linewidth=0)
        axes.set_title(PADDINGS[padding])
        axes.set_xlabel("shift (pixels)")
        if farthest <= 4:
            axes.set_xticks(np.arange(0, farthest, 0.5))
        tidy(axes)
    panels[0].set_ylim(0, 101)  # that of all
    panels[0].set_ylabel("answers left alone (%)")
    counts = [len(found.agree) for found in moved.values()]
    notes = ["Shifted circularly down, to the right, and both.", seeds_note(counts), note]
    frame(figure, "What a shift by parts of a pixel does to the answers", notes, panels[0])
    return figure
