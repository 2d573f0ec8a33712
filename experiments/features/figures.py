"""Figures of layers: how alike they are, and what probes and units do against depth."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.figures.style import FAINT, colors, frame, seeds_note, styled, tidy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled()
def similarity_figure(panels: "dict[str, np.ndarray]", layers: list[str], *, note: str) -> "Figure":
    """Heat maps of the similarity of layers, by title, on one scale of colour."""
    from matplotlib.figure import Figure

    side = 0.9 + 0.26 * len(layers)
    figure = Figure(figsize=(max(7.5, side * len(panels) + 1.8), side + 2.3), layout="compressed")
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    drawn = []
    for axes, (title, matrix) in zip(every, panels.items(), strict=True):
        drawn.append(axes.imshow(matrix, vmin=0, vmax=1, cmap="viridis", origin="lower"))
        axes.set_title(title, fontsize=9.5)
        axes.set_xticks(range(len(layers)), layers, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(layers)), layers)
        tidy(axes, grid="")
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(drawn[0], ax=list(every), shrink=0.8, aspect=22, pad=0.01)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=0, labelsize=8.5, labelcolor=FAINT)
    bar.set_label("CKA")
    frame(figure, "Which layers are alike", ["Linear CKA without bias; below 0 is shown as 0.", note])
    return figure


@styled()
def depth_figure(summary: "pd.DataFrame", layers: list[str], *, chances: Mapping[str, float], note: str) -> "Figure":
    """Probes, units and similarity against depth: lines of the trained networks, dashed of the same at the start.

    `chances` are what always the commonest label has right, by task.
    """
    from matplotlib.figure import Figure

    tasks = tasks_of(summary)
    shades = colors([*tasks, "other"])
    figure = Figure(figsize=(9.6, 6.6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for axes, what, label in (
        (panels[0, 0], "probe", "accuracy of a linear probe (%)"),
        (panels[0, 1], "selectivity", "selectivity of units (%)"),
        (panels[1, 0], "purity", "purity of the top images of units (%)"),
    ):
        for task in tasks:
            _lines(axes, summary, f"{what}.{task}", color=shades[task], label=task)
            chance = np.full(len(layers), 100 * chances[task])
            if what != "probe":
                chance = by_depth(summary, "trained", f"{what}_by_chance.{task}").mean(0) * 100
            axes.plot(chance, color=shades[task], linewidth=1, linestyle=":")
        axes.set_ylabel(label)
    _lines(panels[1, 1], summary, "cka.other_seeds", color=shades[tasks[0]], label="")
    panels[1, 1].set_ylabel("CKA with other seeds (%)")
    for axes in panels.flat:
        tidy(axes)
        axes.set_ylim(min(0, axes.get_ylim()[0]), 101)
        axes.set_xlim(-0.3, len(layers) - 0.7)
    for axes in panels[1]:
        axes.set_xticks(range(len(layers)), layers, rotation=60, ha="right", rotation_mode="anchor")
    seeds = len(by_depth(summary, "trained", f"probe.{tasks[0]}"))
    about = "Solid: trained; dashed: the same networks at the start; dotted: shuffled labels, or the commonest."
    frame(figure, "Features against depth", [about, seeds_note([seeds]), note], panels[0, 0])
    return figure


def _lines(axes: "Axes", summary: "pd.DataFrame", what: str, *, color: str, label: str) -> None:
    for state, style in (("trained", "-"), ("start", "--")):
        percent = by_depth(summary, state, what) * 100
        depths = np.flatnonzero(np.isfinite(percent).all(0))
        look: dict[str, Any] = dict(color=color, linestyle=style, label=label if state == "trained" else None)
        axes.plot(depths, percent[:, depths].mean(0), marker="o", markersize=3.5, **look)
        axes.fill_between(
            depths, percent[:, depths].min(0), percent[:, depths].max(0), color=color, alpha=0.18, linewidth=0
        )


def tasks_of(summary: "pd.DataFrame") -> list[str]:
    """What probes tell apart, in the order of the summary's columns."""
    return [str(name).removeprefix("probe.") for name in summary if str(name).startswith("probe.")]


def by_depth(summary: "pd.DataFrame", state: str, what: str) -> np.ndarray:
    """A column of the summary for one state, (seeds, layers)."""
    mine = summary.query("state == @state")
    return mine[what].to_numpy(np.float64).reshape(-1, len(set(mine["depth"])))
