"""Figures of maps on images: what a measure says of each pixel, laid over it, and several maps on one scale."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import ArrayLike

from cnnjax.door import checked
from cnnjax.door.limits import Positive, Shape
from cnnjax.errors import InputError
from cnnjax.figures.style import FAINT, INK, frame, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNED, POSITIVE = "RdBu_r", "inferno"
"""Colours of maps that have both signs, white at 0, and of those that have one."""


@checked()
@styled()
def overlay_figure(
    images: Annotated[ArrayLike, Shape("images height width channels")],
    maps: Mapping[str, ArrayLike],
    *,
    title: str,
    note: str = "",
    rows: Sequence[str] | None = None,
    one_scale: bool = False,
    opacity: float | int = 0.6,
) -> "Figure":
    """Maps laid over images, such as of saliency, Grad-CAM or occlusion: a row for each image, a column for each map.

    The first column has the images themselves, (images, height, width, 1 or 3) in [0, 1]; under the maps they are grey.
    `maps` has by name (images, rows, columns) or (images, rows, columns, channels), of which each place is the largest
    absolute value over its channels; a map of fewer places than pixels covers the whole image. One of both signs is red
    where it is positive and blue where it is negative. Each has its own scale, from 0 to its largest absolute value,
    or with `one_scale` all have one, with its bar. `rows` name the images, `opacity` is that of the maps.

    Raises InputError for no maps, maps of other images or that are not finite, images outside [0, 1], names that are
    not as many as images, and an opacity outside [0, 1].
    """
    from matplotlib.figure import Figure

    pictures = _images(images)
    laid = {name: _laid(name, values, len(pictures)) for name, values in maps.items()}
    if not laid:
        raise InputError("maps has no map to lay over the images: give one at least")
    if rows is not None and len(rows) != len(pictures):
        raise InputError(f"rows has {len(rows)} names for {len(pictures)} images: give one for each")
    if not 0 <= opacity <= 1:
        raise InputError(f"opacity={opacity} must be from 0, the image alone, to 1, the map alone")
    most = max(np.abs(values).max() for values in laid.values())
    signed = {name: bool((values < 0).any()) for name, values in laid.items()}
    if one_scale:
        signed = dict.fromkeys(signed, any(signed.values()))
    height, width = pictures.shape[1:3]
    size = (1.75 * (len(laid) + 1) + 0.9, 1.75 * height / width * len(pictures) + 1.1)
    figure = Figure(figsize=(max(size[0], 5.0), size[1]), layout="constrained")
    panels = figure.subplots(len(pictures), len(laid) + 1, squeeze=False)
    drawn: Any = None
    for number, (line, picture) in enumerate(zip(panels, pictures, strict=True)):
        _picture(line[0], picture)
        if rows is not None:
            line[0].set_ylabel(rows[number], fontsize=8, color=INK)
        grey = np.repeat(picture.mean(-1, keepdims=True), 3, -1)
        for axes, (name, values) in zip(line[1:], laid.items(), strict=True):
            _picture(axes, grey)
            largest = most if one_scale else np.abs(values[number]).max()
            look = _scale(signed[name], float(largest))
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            drawn = axes.imshow(values[number], extent=extent, alpha=opacity, interpolation="nearest", **look)
    for axes, head in zip(panels[0], ("image", *laid), strict=True):
        axes.set_title(head, fontsize=8.5, weight="normal", pad=3)
    if one_scale:
        _bar(figure, drawn, panels)
    both, one = "red is positive, blue negative, white 0", "dark is 0, bright the largest"
    if len({*signed.values()}) > 1:
        said = f"Maps of both signs: {both}; others: {one}. "
    else:
        said = f"{both if any(signed.values()) else one}. ".capitalize()
    scale = "All maps have one scale." if one_scale else "Each map has its own scale, up to its largest value."
    frame(figure, title, [said + scale, note])
    return figure


@checked()
@styled()
def comparison_figure(
    pictures: Mapping[str, ArrayLike],
    *,
    title: str,
    label: str = "",
    note: str = "",
    columns: Positive = 4,
    low: float | int | None = None,
    high: float | int | None = None,
) -> "Figure":
    """Several maps (rows, columns) beside each other on one scale of colour, with its bar, called `label`.

    The scale reaches from `low` to `high`, by default from the least to the largest of all values, and for values of
    both signs as far to either side of 0, which then is white. Raises InputError for no maps, for one that is empty or
    not finite, and for a scale that does not rise.
    """
    from matplotlib.figure import Figure

    arrays = {name: _finite(f"pictures[{name!r}]", values, 2) for name, values in pictures.items()}
    if not arrays:
        raise InputError("pictures has no map to compare: give one at least")
    least, most = float(min(a.min() for a in arrays.values())), float(max(a.max() for a in arrays.values()))
    signed = low is None and high is None and least < 0 < most
    look = _scale(signed, max(abs(least), abs(most)))
    if not signed:
        look |= {"vmin": least if low is None else low, "vmax": most if high is None else high, "cmap": "viridis"}
    if look["vmin"] > look["vmax"] or (look["vmin"] == look["vmax"] and None not in (low, high)):
        raise InputError(f"low={look['vmin']} and high={look['vmax']} are no scale: give a low below the high")
    across = min(columns, len(arrays))
    down = -(-len(arrays) // across)
    tall = max(a.shape[0] / a.shape[1] for a in arrays.values())
    figure = Figure(
        figsize=(max(1.9 * across + 1.1, 4.5), (1.9 * min(tall, 3) + 0.25) * down + 0.9), layout="constrained"
    )
    panels = figure.subplots(down, across, squeeze=False)
    drawn: Any = None
    for axes, (name, values) in zip(panels.flat, arrays.items(), strict=False):
        drawn = axes.imshow(values, interpolation="nearest", **look)
        axes.set_title(name, fontsize=8.5, weight="normal", pad=3)
        _bare(axes)
    for axes in panels.flat[len(arrays) :]:
        axes.set_visible(False)
    _bar(figure, drawn, panels).set_label(label)
    frame(figure, title, ["All have one scale.", note])
    return figure


def _images(images: ArrayLike) -> np.ndarray:
    array = _finite("images", images, 4)
    if array.shape[-1] not in (1, 3):
        raise InputError(f"images has the shape {array.shape}: give images of 1 or 3 channels")
    if array.min() < 0 or array.max() > 1:
        raise InputError(f"images has values from {array.min():g} to {array.max():g}: give pixels in [0, 1]")
    return array


def _laid(name: str, values: ArrayLike, count: int) -> np.ndarray:
    """Maps (images, rows, columns)."""
    array = np.asarray(values, np.float64)
    what = f"maps[{name!r}]"
    if array.ndim == 4 and array.shape[-1] > 1:
        array = np.abs(array).max(-1)
    elif array.ndim == 4:
        array = array.reshape(array.shape[:3])
    array = _finite(what, array, 3)
    if len(array) != count:
        raise InputError(f"{what} is of {len(array)} images, not of {count}: give a map for each image")
    return array


def _finite(what: str, values: ArrayLike, axes: int) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != axes or not array.size:
        raise InputError(f"{what} has the shape {array.shape}: give {axes} axes, none of them empty")
    if not np.isfinite(array).all():
        raise InputError(f"{what} has values that are not finite: leave them out, or set them to 0")
    return array


def _scale(signed: bool, largest: float) -> dict[str, Any]:
    return {"cmap": SIGNED if signed else POSITIVE, "vmin": -largest if signed else 0.0, "vmax": largest or 1.0}


def _picture(axes: "Axes", pixels: np.ndarray) -> None:
    axes.imshow(np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels, interpolation="nearest")
    _bare(axes)


def _bare(axes: "Axes") -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _bar(figure: "Figure", drawn: Any, panels: np.ndarray) -> Any:
    bar = figure.colorbar(drawn, ax=panels, shrink=0.8, pad=0.02)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=FAINT)
    return bar
