"""Figures of receptive fields on the image: what a unit can see, and how much each pixel weighs in it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from cnnjax.analysis import EffectiveField, ReceptiveField
from cnnjax.door import checked
from cnnjax.door.limits import Positive
from cnnjax.errors import InputError
from cnnjax.figures.style import FAINT, INK, colors, frame, styled, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PADDING = "#ececec"
HEAT = "#D55E00"
FARTHEST = 1.0
"""How many sides of the image the view reaches beyond it at most."""


def middle(field: ReceptiveField) -> tuple[int, ...]:
    """The index of a map's middle unit, the lower of two."""
    return tuple((n - 1) // 2 for n in field.units)


@checked()
def draw_receptive_fields(
    axes: "Axes", image: ArrayLike, fields: Mapping[str, ReceptiveField], position: tuple[int, int] | None = None
) -> None:
    """Draw the receptive field of one unit of each layer on the image, nested, and the padding that it reaches into.

    `image` is (height, width) or (height, width, 3), in [0, 1]; `fields` are by layer. `position`, (row, column), is
    the unit's index in every layer's map; by default that of each layer's middle unit. Every rectangle has a label, for
    a legend. The view ends one side of the image beyond it. Raises InputError for fields that are not of this image,
    and for a position that a layer has not.
    """
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    pixels = _checked(image, fields)
    height, width = pixels.shape[:2]
    spans = {name: field.span(middle(field) if position is None else position) for name, field in fields.items()}
    _draw_picture(axes, pixels, alpha=1)
    shades = colors(list(fields))
    for name, ((top, bottom), (left, right)) in spans.items():
        index = middle(fields[name]) if position is None else tuple(position)
        shape = (left - 0.5, top - 0.5), right - left + 1, bottom - top + 1
        box = Rectangle(*shape, fill=False, edgecolor=shades[name], linewidth=1.8)
        box.set_label(_label(name, fields[name], index))
        box.set_path_effects([withStroke(linewidth=3.2, foreground="white")])
        axes.add_patch(box)
    ends = [_view([span[axis] for span in spans.values()], n) for axis, n in enumerate((height, width))]
    _frame_view(axes, ends)


@checked()
def draw_effective_field(
    axes: "Axes",
    weights: EffectiveField,
    field: ReceptiveField,
    position: tuple[int, int] | None = None,
    *,
    image: ArrayLike | None = None,
    mass: float | int = 0.95,
) -> None:
    """Draw how much each pixel weighs in a unit: heat in proportion to the weight, over a pale grey image or on white.

    The square is what the unit can see, the circle holds the share `mass` of the weights. The view is that of the
    receptive field, where it lies in the image. Raises InputError as `draw_receptive_fields` does.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Circle, Rectangle
    from matplotlib.ticker import MaxNLocator

    heat = np.asarray(weights.mass, np.float64)
    pixels = _checked(np.ones(heat.shape) if image is None else image, {"this layer": field})
    # Colour is kept for the weights.
    _draw_picture(axes, pixels.mean(-1) if pixels.ndim == 3 else pixels, alpha=0.4)
    overlay = np.empty((*heat.shape, 4))
    overlay[..., :3] = to_rgb(HEAT)
    overlay[..., 3] = heat / heat.max()
    axes.imshow(overlay, extent=_extent(heat), interpolation="nearest", zorder=2)
    (top, bottom), (left, right) = field.span(middle(field) if position is None else position)
    axes.add_patch(
        Rectangle((left - 0.5, top - 0.5), right - left + 1, bottom - top + 1, fill=False, edgecolor=INK, zorder=3)
    )
    reach = weights.radius(mass)
    row, column = weights.center
    axes.add_patch(Circle((column, row), reach, fill=False, edgecolor="#0072B2", linewidth=1.5, zorder=3))
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    spans = zip(((top, bottom), (left, right)), weights.center, heat.shape, strict=True)
    _frame_view(axes, [_around([*span, c - reach, c + reach], n) for span, c, n in spans])


@checked()
@styled()
def receptive_field_figure(
    image: ArrayLike,
    fields: Mapping[str, ReceptiveField],
    *,
    position: tuple[int, int] | None = None,
    title: str = "",
    note: str = "",
) -> "Figure":
    """The receptive fields of several layers on the image: of their middle units, and of their first in the corner.

    Arguments and errors are those of `draw_receptive_fields`; the unit at a `position` is drawn instead of the two.
    """
    from matplotlib.figure import Figure

    places: dict[str, tuple[int, int] | None] = {"The middle unit": None, "The first unit, (0, 0)": (0, 0)}
    if position is not None:
        places = {f"Unit {position}": position}
    figure = Figure(figsize=(9.0, 5.6) if len(places) > 1 else (6.0, 6.8), layout="constrained")
    panels = figure.subplots(1, len(places), squeeze=False)[0]
    for axes, (name, index) in zip(panels, places.items(), strict=True):
        draw_receptive_fields(axes, image, fields, index)
        axes.set_title(name)
    frame(figure, title or "What a unit can see", ["Hatched: padding, beyond the image.", note], panels[0])
    return figure


@checked()
@styled()
def effective_field_figure(
    weights: Mapping[str, EffectiveField],
    fields: Mapping[str, ReceptiveField],
    *,
    position: tuple[int, int] | None = None,
    image: ArrayLike | None = None,
    title: str = "",
    note: str = "",
    columns: Positive = 5,
) -> "Figure":
    """How much each pixel weighs in one unit of several layers, side by side; `weights` are by layer.

    Arguments and errors are those of `draw_effective_field`, of which every panel is one.
    """
    from matplotlib.figure import Figure

    if not weights:
        raise InputError("There are no effective fields to draw; give one layer's at least.")
    if missing := [name for name in weights if name not in fields]:
        raise InputError(f"The fields lack {', '.join(missing)}; give one for each of the weights.")
    across = min(columns, len(weights))
    down = -(-len(weights) // across)
    figure = Figure(figsize=(max(2.3 * across, 4.6), 2.75 * down + 0.8), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False)
    for axes, (name, weight) in zip(panels.flat, weights.items(), strict=False):
        draw_effective_field(axes, weight, fields[name], position, image=image)
        axes.set_title(name, pad=17)
        about = f"sees {_pixels(fields[name])} px; radius {weight.radius(0.95):.1f}"
        axes.text(0, 1.03, about, transform=axes.transAxes, fontsize=8, color=FAINT)
    for axes in panels.flat[len(weights) :]:
        axes.set_visible(False)
    notes = [
        "Square: what the unit can see. Circle: holds 95 % of the weight. Colour: weight over its maximum.",
        note,
    ]
    frame(figure, title or "How much each pixel weighs", notes)
    return figure


def _checked(image: ArrayLike, fields: Mapping[str, ReceptiveField]) -> np.ndarray:
    if not fields:
        raise InputError("There are no receptive fields to draw; give one layer's at least.")
    pixels = np.asarray(image, np.float64)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] != 3):
        raise InputError(f"The image has the shape {pixels.shape}; give (height, width) or (height, width, 3).")
    for name, field in fields.items():
        if tuple(field.image_size) != pixels.shape[:2]:
            size = "×".join(map(str, field.image_size))
            raise InputError(f"The field of {name} is of images of {size} pixels, not of {pixels.shape[:2]}.")
    return pixels


def _draw_picture(axes: "Axes", pixels: np.ndarray, *, alpha: float | int) -> None:
    axes.patch.set(facecolor=PADDING, edgecolor="white", hatch="////")
    axes.imshow(np.ones_like(pixels), extent=_extent(pixels), cmap="gray", vmin=0, vmax=1)
    axes.imshow(
        np.clip(pixels, 0, 1), extent=_extent(pixels), cmap="gray", vmin=0, vmax=1, alpha=alpha, interpolation="nearest"
    )
    tidy(axes, grid="")


def _extent(pixels: np.ndarray) -> tuple[float, float, float, float]:
    height, width = pixels.shape[:2]
    return (-0.5, width - 0.5, height - 0.5, -0.5)


def _view(spans: Sequence[tuple[int, int]], n: int) -> tuple[float, float]:
    """From where to where to look along an axis of n pixels."""
    first, last = min(a for a, _ in spans), max(b for _, b in spans)
    return max(min(first, 0), -FARTHEST * n) - 0.04 * n, min(max(last, n - 1), (1 + FARTHEST) * n) + 0.04 * n


def _around(places: Sequence[float | int], n: int) -> tuple[float, float]:
    """A view that holds these places along an axis, but no more beyond the n pixels of the image than a margin."""
    first, last = max(min(places), -0.06 * n), min(max(places), 1.06 * n - 1)
    margin = 0.06 * (last - first) + 0.5
    return first - margin, last + margin


def _frame_view(axes: "Axes", ends: Sequence[tuple[float, float]]) -> None:
    (top, bottom), (left, right) = ends
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _label(name: str, field: ReceptiveField, unit: tuple[int, ...]) -> str:
    seen = "the image" if not any(field.stride) else f"{_pixels(field)} px"
    return f"{name} ({', '.join(map(str, unit))}): {seen}"


def _pixels(field: ReceptiveField) -> str:
    sizes = [f"{float(size):g}" for size in field.size]
    return sizes[0] if len(set(sizes)) == 1 else "×".join(sizes)
