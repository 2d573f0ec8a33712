"""Figures of networks side by side: invariance against accuracy, the circle, and where equivariance is lost."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.figures import colors
from cnnjax.figures.style import GRID, INK, frame, styled, tidy
from experiments.measure.compare import SHORT, Scores
from experiments.measure.figures import circle, shares_of
from experiments.measure.found import Found
from experiments.measure.scope import Scope
from experiments.shared.subject import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ON_CIRCLE = 8
"""Networks in one figure of the circle at most."""
LIE = {"translation_x": "Lie derivative, shift by a pixel", "rotation": "Lie derivative, turn by a radian"}


def comparison_figures(
    every: Scores, found: Mapping[str, Found], networks: Mapping[str, Subject], scope: Scope
) -> "dict[str, Figure]":
    """Invariance against accuracy, the circle, and where along the network equivariance is lost."""
    known = all("accuracy" in scores for scores in every.values())
    x = "accuracy (%)" if known else "multiply-adds (millions)"
    points = {}
    for name, scores in every.items():
        cost = sum(layer["multiply_adds"] for layer in found[name].anatomy.values()) / 1e6
        lie = found[name].lie.get("logits", {})
        points[name] = {x: 100 * scores["accuracy"].mean if known else max(cost, 1e-6)}
        points[name] |= {key: 100 * scores[key].mean for key in HEIGHTS if key in scores}
        points[name] |= {key: lie.get(f"relative {key}", np.nan) for key in LIE}
    heights = {key: text for key, text in (HEIGHTS | LIE).items() if any(key in row for row in points.values())}
    images = next(iter(networks.values())).images
    where = f"{images.name}; n = {scope.protocol.images} images."
    drawn: dict[str, Any] = {
        "invariance": against(points, x, heights, title="Invariance against " + x, note=where, log=not known)
    }
    if len(networks) <= ON_CIRCLE and all("rotation" in one.todo for one in found.values()):
        drawn["circle"] = circle(found, None, note=where)
    for generator, text in SHORT.items():
        shares = {name: row for name, one in found.items() if (row := shares_of(one, generator))}
        if shares:
            title = f"Where equivariance is lost, for a {text}"
            drawn[f"breaking_{text}"] = breaking(
                shares, title=title, note=f"Of the Lie derivative of the logits. {where}"
            )
    return drawn


HEIGHTS = {"shift_zero.consistency": "consistency under shifts (%)", "rotation.consistency": "under rotations (%)"}


@styled()
def against(
    points: Mapping[str, Mapping[str, float]], x: str, heights: Mapping[str, str], *, title: str, note: str, log: bool
) -> "Figure":
    """Invariance against accuracy, a dot with its name for each network, a panel for each score of `heights`."""
    from matplotlib.figure import Figure

    across = min(2, len(heights))
    down = -(-len(heights) // across)
    figure = Figure(figsize=(4.6 * across, 3.5 * down + 0.9), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False)
    shades = colors(list(points))
    for axes, (key, label) in zip(panels.flat, heights.items(), strict=False):
        some = {name: row for name, row in points.items() if np.isfinite(row.get(key, np.nan))}
        for name, row in some.items():
            axes.plot(row[x], row[key], "o", color=shades[name], markersize=6)
        _name_dots(axes, {name: (row[x], row[key]) for name, row in some.items()}, log=log)
        if log:
            axes.set_xscale("log")
        axes.set_ylabel(label)
        axes.set_xlabel(x)
        axes.margins(0.16, 0.14)
        tidy(axes)
    for axes in list(panels.flat)[len(heights) :]:
        axes.set_visible(False)
    frame(figure, title, [note])
    return figure


def _name_dots(axes: Any, dots: Mapping[str, tuple[float, float]], *, log: bool) -> None:
    """Names beside dots, on the side away from the middle, one below another where dots lie close."""
    if not dots:
        return
    across = np.array([np.log(x) if log else x for x, _ in dots.values()])
    heights = np.array([y for _, y in dots.values()])
    tall, wide = max(float(np.ptp(heights)), 1e-9), max(float(np.ptp(across)), 1e-9)
    placed: list[tuple[float, float]] = []
    for (name, (x, y)), u in sorted(zip(dots.items(), across, strict=True), key=lambda item: -item[0][1][1]):
        left = u > across.mean()
        lines = sum(abs(a - u) < 0.35 * wide and abs(b - y) < 0.06 * tall for a, b in placed)
        placed.append((u, y))
        place: Any = dict(xytext=(-6 if left else 6, -9.0 * lines), textcoords="offset points", va="center")
        axes.annotate(name, (x, y), fontsize=7.5, color=INK, ha="right" if left else "left", **place)


@styled()
def breaking(shares: Mapping[str, Mapping[str, float]], *, title: str, note: str) -> "Figure":
    """What the layers of each network add to the Lie derivative of its logits, against depth from 0 to 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    axes = figure.subplots()
    shades = colors(list(shares))
    for name, row in shares.items():
        depth = np.linspace(0, 1, len(row))
        axes.plot(
            depth, np.cumsum(list(row.values())), "o-", color=shades[name], markersize=3, linewidth=1.3, label=name
        )
    axes.axhline(1, color=GRID, linewidth=0.8)
    axes.set_xlabel("depth, from the first layer that is measured to the logits")
    axes.set_ylabel("share, added up from the image on")
    tidy(axes)
    frame(figure, title, [note], axes)
    return figure
