"""The figures of the effective field experiment: growth with depth, and maps side by side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cnnjax.analysis import EffectiveField, ReceptiveField
from cnnjax.figures import colors, draw_effective_field
from cnnjax.figures.style import FAINT, INK, frame, styled, tidy
from cnnjax.stats import over_seeds
from cnnjax.stats.intervals import method_over_seeds
from experiments.effective_field.stacks import Stack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"equal": "equal weights", "random": "random", "random_relu": "random + ReLU"}


@styled()
def growth(table: Any) -> "Figure":
    """σ against the number of layers, and its share of the receptive field, measured beside the theory.

    `table`, of pandas, has a row for each stack and seed, with weights, layers, receptive_field, theory_sigma,
    sigma_absolute and sigma_squared.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(9.0, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    layers = np.array(sorted(set(table["layers"])), float)
    first = table.drop_duplicates("layers").sort_values("layers")
    size, sigma = (np.array(first[name], float) for name in ("receptive_field", "theory_sigma"))
    shades = colors(["theory", *NAMES])
    for axes, scale in ((left, np.ones_like(size)), (right, 4 / size)):
        axes.plot(layers, sigma * scale, color=shades["theory"], label="theory, √(n (k² − 1) / 12)")
        axes.plot(layers, np.sqrt(2) * sigma * scale, color=shades["theory"], linestyle=":", label="√2 times that")
        for i, (weights, name) in enumerate(NAMES.items()):
            kinds = ("absolute",) if weights == "equal" else ("squared", "absolute")
            mine = table[table["weights"] == weights]
            for kind in kinds if len(mine) else ():
                points = [over_seeds(mine.loc[mine["layers"] == n, f"sigma_{kind}"]) for n in layers]
                mean, low, high = (
                    np.array([getattr(p, end) for p in points]) * scale for end in ("mean", "low", "high")
                )
                place = layers * 1.04 ** (i - 1)
                fill = "white" if kind == "absolute" and weights != "equal" else shades[weights]
                axes.vlines(place, low, high, color=shades[weights], linewidth=1.4, alpha=0.6)
                about = name if weights == "equal" else f"{name}, {'g²' if kind == 'squared' else '|g|'}"
                look: Any = dict(color=shades[weights], markerfacecolor=fill, markersize=5, label=about)
                axes.plot(place, mean, "o", **look)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(layers, [f"{n:g}" for n in layers])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("layers, n")
        tidy(axes)
    left.plot(
        layers, size / 4, color=shades["theory"], linestyle="--", linewidth=1.2, label="r / 4, the receptive field"
    )
    right.axhline(1, color=shades["theory"], linestyle="--", linewidth=1.2)
    for n, share in zip(layers, 4 * sigma / size, strict=True):
        note: Any = dict(xytext=(-9, -7), textcoords="offset points", ha="right", va="top")
        right.annotate(f"{share:.3f}".lstrip("0"), (n, share), fontsize=8, color=INK, **note)
    left.set_title("Width σ, in pixels")
    right.set_title("Share of the receptive field, 4σ / r")
    for axes, ticks in ((left, (1, 2, 5, 10, 20, 50)), (right, (0.2, 0.3, 0.5, 0.7, 1))):
        low, high = axes.get_ylim()
        axes.set_yticks([t for t in ticks if low <= t <= high], [f"{t:g}" for t in ticks if low <= t <= high])
        axes.yaxis.set_minor_locator(NullLocator())
    right.set_xlim(left=right.get_xlim()[0] * 0.85)
    seeds = table["seed"].nunique()
    bars = f"bars: 95 % {method_over_seeds(seeds)} interval"
    spread = f"Dots: mean over {seeds} draws; {bars}." if seeds > 1 else "One draw."
    notes = ["g: the derivative of the middle unit by each pixel.", spread]
    frame(figure, "The receptive field grows as n, what has an effect as √n", notes, left)
    return figure


@styled()
def stack_maps(maps: Mapping[str, tuple[Stack, np.ndarray]]) -> "Figure":
    """The effective field of each stack in the frame of its receptive field: a row for weights, a column for layers."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    rows = list(dict.fromkeys(stack.weights for stack, _ in maps.values()))
    columns = list(dict.fromkeys(stack.layers for stack, _ in maps.values()))
    figure = Figure(figsize=(max(2.0 * len(columns) + 0.4, 5.0), 2.15 * len(rows) + 0.9), layout="compressed")
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    for stack, weights in maps.values():
        axes = panels[rows.index(stack.weights), columns.index(stack.layers)]
        field = EffectiveField(weights, (stack.size // 2,) * 2)
        axes.imshow(field.mass, cmap="inferno", interpolation="nearest")
        axes.add_patch(
            Circle((field.center[1], field.center[0]), field.radius(), fill=False, edgecolor="white", linewidth=1.2)
        )
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if stack.weights == rows[0]:
            axes.set_title(f"n = {stack.layers}, r = {stack.size}")
        if stack.layers == columns[0]:
            axes.set_ylabel(NAMES[stack.weights])
    notes = ["Each map fills its receptive field. Circle: holds 95 % of the weight. One draw of the weights."]
    frame(figure, "The deeper the stack, the smaller the part of its field that counts", notes)
    return figure


@styled()
def before_and_after(
    fields: Mapping[str, ReceptiveField], network: Mapping[str, np.ndarray], *, note: str = ""
) -> "Figure":
    """The effective field of each layer before and after training, the mean over seeds: a row for each time.

    `network` has the maps (seeds, height, width) under "before/LAYER" and "after/LAYER".
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(2.6 * len(fields) + 0.4, 5.0), 6.2), layout="compressed")
    panels = figure.subplots(2, len(fields), squeeze=False)
    for row, when in zip(panels, ("before", "after"), strict=True):
        for axes, (layer, field) in zip(row, fields.items(), strict=True):
            maps = network[f"{when}/{layer}"]
            unit = tuple((n - 1) // 2 for n in field.units)
            draw_effective_field(axes, EffectiveField(maps.mean(0), unit), field)
            radius = over_seeds([EffectiveField(weights, unit).radius() for weights in maps])
            spread = "" if np.isnan(radius.low) else f" ± {(radius.high - radius.low) / 2:.1f}"
            axes.set_title(layer if when == "before" else "", pad=17)
            axes.text(0, 1.03, f"radius {radius.mean:.1f}{spread}", transform=axes.transAxes, fontsize=8, color=FAINT)
        row[0].set_ylabel(f"{when} training", fontsize=10)
    notes = [
        "Mean over seeds; colour: weight over its maximum. Square: what the middle unit can see; hatched: padding. "
        "Circle: holds 95 % of the weight.",
        note,
    ]
    frame(figure, "The effective field before and after training", notes)
    return figure
