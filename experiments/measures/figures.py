"""Figures of measures: which families each ranks rightly, and the values that exact and other functions have."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.figures.style import FAINT, GRID, INK, frame, styled, tidy
from experiments.measures.families import Family
from experiments.measures.functions import FUNCTIONS
from experiments.measures.ranks import MEASURES, Found, Rank, floor, is_exact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXACT, OTHER = "#0072B2", "#D55E00"
_LOW, _HIGH = 1e-6, 20.0


@styled()
def ranks_figure(rows: Sequence[Rank], families: Sequence[Family]) -> "Figure":
    """The share of pairs in the right order for every measure and family, a panel for each canvas."""
    from matplotlib.figure import Figure

    canvases = list(dict.fromkeys(row.canvas for row in rows))
    measures = [measure for measure in MEASURES if any(row.measure == measure for row in rows)]
    width = 2.6 + len(canvases) * (0.8 + 0.62 * len(families))
    figure = Figure(figsize=(max(width, 7.0), 2.3 + 0.3 * len(measures)), layout="constrained")
    panels = figure.subplots(1, len(canvases), sharey=True, squeeze=False)[0]
    for axes, canvas in zip(panels, canvases, strict=True):
        shares = np.full((len(measures), len(families)), np.nan)
        for row in rows:
            if row.canvas == canvas:
                shares[measures.index(row.measure), families.index(row.family)] = row.auc.mean
        axes.imshow(shares, vmin=0, vmax=1, cmap="RdBu", aspect="auto")
        for (i, j), share in np.ndenumerate(shares):
            text, color = (
                ("–", FAINT) if np.isnan(share) else (_share(share), "white" if abs(share - 0.5) > 0.3 else INK)
            )
            axes.text(j, i, text, ha="center", va="center", color=color, fontsize=8.5)
        axes.set_xticks(range(len(families)), families, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(measures)), [MEASURES[measure] for measure in measures])
        axes.set_title(f"canvas of {canvas}² pixels")
        tidy(axes, grid="")
        axes.spines[:].set_visible(False)
    notes = [
        "Share of pairs of an exactly equivariant function and another one that are in the right order: 1 (blue) all, "
        "0.5 by chance, 0 (red) none. –: the measure has no such family."
    ]
    frame(figure, "Which measures rank functions of known equivariance rightly", notes)
    return figure


def _share(share: float) -> str:
    return "1" if share == 1 else f"{share:.2f}".lstrip("0") if share < 0.995 else ".99"


@styled()
def values_figure(found: Found, family: Family) -> "Figure":
    """What every measure says of every function of one family, exact ones and others, a panel for each canvas."""
    from matplotlib.figure import Figure

    canvases = list(dict.fromkeys(canvas for canvas, _ in found))
    measures = [m for m in MEASURES if any(m in of[family] for of in found.values())]
    figure = Figure(figsize=(2.4 + 3.9 * len(canvases), 1.9 + 0.38 * len(measures)), layout="constrained")
    panels = figure.subplots(1, len(canvases), sharey=True, squeeze=False)[0]
    for axes, canvas in zip(panels, canvases, strict=True):
        for row, measure in enumerate(measures):
            _row(axes, row, measure, {name: of[family] for (side, name), of in found.items() if side == canvas}, family)
        axes.set_xscale("log")
        axes.set_xlim(_LOW / 2, _HIGH * 1.5)
        axes.set_title(f"canvas of {canvas}² pixels")
        axes.set_yticks(range(len(measures)), [MEASURES[measure] for measure in measures])
        tidy(axes, grid="x")
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(measures) - 0.5, -0.5)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("value; to the left: more equivariant")
    marks = (("o", EXACT, EXACT, "exactly equivariant"), ("o", "white", OTHER, "not"), ("x", FAINT, FAINT, "constant"))
    for mark, fill, edge, label in marks:
        panels[0].plot([], [], mark, markerfacecolor=fill, color=edge, label=label)
    notes = [
        f"Each dot a function under the family {family}, the mean over images; what is below 1e-6 is drawn there. The "
        "published Lie derivative is a square: its root is drawn."
    ]
    frame(figure, f"Exact functions and others, by every measure: {family}", notes, panels[0])
    return figure


def _row(axes: Any, row: int, measure: str, of: dict[str, Any], family: Family) -> None:
    axes.axhline(row + 0.5, color=GRID, linewidth=0.6)
    for name, measures in of.items():
        numbers = [value for value in measures.get(measure) or () if value is not None]
        exact = is_exact(name, family, measure)
        if not numbers or (exact is None and not FUNCTIONS[name].ignores):
            continue
        value = max(np.mean(numbers), floor(measure))
        x = np.clip(np.sqrt(value) if measure == "LEE" else value, _LOW, _HIGH)
        if exact is None:
            axes.plot(x, row + 0.3, "x", color=FAINT, markersize=5)
        else:
            axes.plot(
                x,
                row + (-0.13 if exact else 0.1),
                "o",
                color=EXACT if exact else OTHER,
                markerfacecolor=EXACT if exact else "white",
                markersize=5,
                alpha=0.85,
            )
