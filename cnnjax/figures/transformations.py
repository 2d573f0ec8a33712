"""Figures of a score against a transformation of the image; they return a matplotlib Figure and leave pyplot alone."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import ArrayLike

from cnnjax.door import checked
from cnnjax.door.limits import Positive, Shape
from cnnjax.errors import InputError
from cnnjax.figures.style import (
    FAINT,
    GRID,
    colors,
    draw_chance,
    frame,
    seeds_note,
    short_labels,
    styled,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@checked()
@styled()
def angle_curves(
    curves: Mapping[str, ArrayLike],
    degrees: Annotated[ArrayLike, Shape("angles")],
    *,
    ylabel: str = "accuracy",
    title: str = "",
    note: str = "",
    polar: bool = True,
    palette: Mapping[str, str] | None = None,
    chance: float | int | None = None,
) -> "Figure":
    """A score against the angle of rotation, for each cell a line and a band over seeds, and the same around a circle.

    `curves[cell]` is (seeds, angles), in [0, 1] and shown in percent; `degrees` (angles,) are the angles. The line is
    the mean, the band reaches from the lowest to the highest seed. `note` goes under the figure, `palette` colours the
    cells, a dotted line stands at `chance`, such as `Dataset.chance`. Raises InputError for no curves, for fewer than
    two angles or one that is not finite, for curves that do not fit `degrees`, and for a chance outside [0, 1].
    """
    from matplotlib.figure import Figure

    angles = np.asarray(degrees, dtype=float)
    values = {name: np.asarray(curve, dtype=float) * 100 for name, curve in curves.items()}
    if not values or len(angles) < 2:
        raise InputError(
            f"{len(values)} curves of {len(angles)} angles cannot be drawn; give one, of two angles or more."
        )
    if not np.isfinite(angles).all():
        raise InputError(f"degrees={angles.tolist()} must all be finite.")
    for name, curve in values.items():
        if curve.ndim != 2 or curve.shape[1] != len(angles) or not len(curve):
            wanted = f"(seeds, {len(angles)})"
            raise InputError(f"The curve {name!r} has the shape {curve.shape}; {len(angles)} angles ask for {wanted}.")
    shades = palette or colors(list(values))
    by, labels = short_labels(list(values))

    figure = Figure(figsize=(9.0, 4.4) if polar else (6.5, 4.0), layout="constrained")
    widths = (1.0, 1.35) if polar else (1.0,)
    spec = figure.add_gridspec(1, len(widths), width_ratios=widths, wspace=0.05)
    line = figure.add_subplot(spec[-1])
    upright = np.where(angles > 180, angles - 360, angles)
    if (upright == 180).any() and not (upright == -180).any():
        # Upside down stands at both ends, for the two are one.
        upright, first = (
            np.append(upright, -180.0),
            np.append(np.arange(len(angles)), np.flatnonzero(upright == 180)[0]),
        )
    else:
        first = np.arange(len(angles))
    order = np.argsort(upright)
    panels: list[tuple[Any, np.ndarray, np.ndarray]] = [(line, upright[order], first[order])]
    if polar:
        circle = figure.add_subplot(spec[0], projection="polar")
        around = np.argsort(angles % 360)
        # Only a whole circle closes; a sector must not look as if it had been measured all around.
        whole = np.diff(np.append(angles[around] % 360, (angles % 360).min() + 360)).max() <= 90
        index = np.append(around, around[0]) if whole else order
        panels.append(
            (circle, np.radians(angles[index] if whole else upright[order]), index if whole else first[order])
        )
        _style_circle(circle)
    for axes, place, index in panels:
        for name, curve in values.items():
            chosen = curve[:, index]
            axes.plot(place, chosen.mean(axis=0), color=shades[name], label=labels[name])
            axes.fill_between(place, chosen.min(axis=0), chosen.max(axis=0), color=shades[name], alpha=0.18, lw=0)
    tidy(line)
    span = np.ptp(upright)
    line.set_xticks(np.arange(-180, 181, 45 if span > 150 else 15 if span > 45 else 5))
    line.set_xlim(upright.min(), upright.max())
    line.xaxis.set_major_formatter("{x:g}°")
    line.set_ylim(0, 101)
    line.set_xlabel("rotation of the image")
    line.set_ylabel(f"{ylabel} (%)")
    dotted = draw_chance(line, chance)
    notes = [seeds_note([len(curve) for curve in values.values()]), *dotted, note]
    frame(figure, (title or f"{ylabel.capitalize()} under rotation") + by, notes, line)
    return figure


def _style_circle(circle: Any) -> None:
    circle.set_theta_zero_location("N")
    circle.set_xticks(np.radians(np.arange(0, 360, 45)), ["0°", "45°", "90°", "135°", "±180°", "−135°", "−90°", "−45°"])
    circle.set_ylim(0, 101)
    circle.set_yticks([25, 50, 75, 100], [""] * 4)
    circle.tick_params(labelsize=8, labelcolor=FAINT, pad=1)
    circle.grid(color=GRID, linewidth=0.6)
    circle.spines["polar"].set_visible(False)
    for radius, text in ((50, "50"), (112, "100 %")):
        circle.text(np.radians(22.5), radius, text, fontsize=8, color=FAINT, ha="center", va="center")


@checked()
@styled()
def translation_maps(
    maps: Mapping[str, ArrayLike],
    *,
    label: str = "accuracy",
    title: str = "",
    note: str = "",
    columns: Positive = 4,
    chance: float | int | None = None,
) -> "Figure":
    """A score under every translation: a heat map for each cell, on one scale of colour from 0 to 100 %.

    `maps[cell]` is (2k+1, 2k+1), in [0, 1] and shown in percent: rows are dy from -k to k, columns dx from -k to k, in
    pixels, with the untranslated image in the middle, which is marked. `columns` is how many stand side by side; a
    dotted line on the scale stands at `chance`, such as `Dataset.chance`. Raises InputError for no maps, for maps that
    are not square, odd and of one size, and for a chance outside [0, 1].
    """
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    values = {name: np.asarray(grid, dtype=float) * 100 for name, grid in maps.items()}
    shapes = {grid.shape for grid in values.values()}
    if len(shapes) != 1 or any(len(s) != 2 or s[0] != s[1] or s[0] % 2 == 0 for s in shapes):
        raise InputError(f"The translation maps have the shapes {sorted(shapes)}; all are (2k+1, 2k+1), of one k.")
    ((side, _),) = shapes
    k = side // 2
    by, labels = short_labels(list(values))
    across = min(columns, len(values))
    down = math.ceil(len(values) / across)

    figure = Figure(figsize=(max(2.05 * across + 1.3, 4.5), 2.5 * down + 0.95), layout="compressed")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    extent = (-k - 0.5, k + 0.5, k + 0.5, -k - 0.5)
    images = []
    for axes, (name, grid) in zip(panels.flat, values.items(), strict=False):
        images.append(axes.imshow(grid, extent=extent, vmin=0, vmax=100, cmap="viridis"))
        (mark,) = axes.plot(0, 0, marker="+", color="white", markersize=7, markeredgewidth=1.2)
        mark.set_path_effects([withStroke(linewidth=2.6, foreground="black")])
        axes.set_title(labels[name], pad=17)
        moved = np.delete(grid.ravel(), grid.size // 2) if k else grid
        about = f"mean {moved.mean():.1f}, lowest {moved.min():.1f}"
        axes.text(0, 1.03, about, transform=axes.transAxes, fontsize=8, color=FAINT)
        tidy(axes, grid="")
        axes.spines[:].set_visible(False)
        axes.set_xticks([-k, 0, k])
        axes.set_yticks([-k, 0, k])
    for axes in panels.flat[len(values) :]:
        axes.set_visible(False)
    for i, axes in enumerate(panels.flat):
        if i + across >= len(values):
            axes.set_xlabel("dx (pixels)")
            axes.tick_params(labelbottom=True)
        if i % across == 0:
            axes.set_ylabel("dy (pixels)")
    bar = figure.colorbar(images[0], ax=panels, shrink=0.9, aspect=18 * down, pad=0.02)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=0, labelsize=8.5, labelcolor=FAINT)
    bar.set_label(f"{label} (%)")
    dotted = draw_chance(bar.ax, chance)
    for mark in bar.ax.lines if chance is not None else ():
        mark.set(color="white", linewidth=1.6)
    frame(
        figure,
        (title or f"{label.capitalize()} under translation") + by,
        ["+ marks the untranslated image, which mean and lowest leave out.", *dotted, note],
    )
    return figure
