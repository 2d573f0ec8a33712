"""Occlusion: what a network says of an image while a square of it is covered."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from cnnjax.analysis.attribution.backward.project import Projector
from cnnjax.analysis.attribution.backward.relu_rules import Rule
from cnnjax.analysis.inputs.batches import batches, most_at_once
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import ValueRange, checked_images
from cnnjax.analysis.inputs.layers import find_activation, find_logits
from cnnjax.analysis.inputs.norms import wide
from cnnjax.door import checked
from cnnjax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Occlusion:
    """The five panels of Zeiler & Fergus 2014, figure 7; each cell of a map is one position of the square."""

    image: Float[np.ndarray, "height width channels"]
    total_activation: Float[np.ndarray, "rows columns"]
    """The sum over space of the strongest map, rectified or not as f returns it."""
    projection: Float[np.ndarray, "height width channels"]
    """The maximum of the strongest map in the image itself, mapped back to pixels (`project`)."""
    probability: Float[np.ndarray, "rows columns"]
    """Of the right class, by softmax of the logits."""
    prediction: Int[np.ndarray, "rows columns"]
    """The most probable class."""
    centers: tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " columns"]]
    """Row and column of the square's centre, in pixels; 0 is the centre of the first pixel."""
    channel: int
    """The strongest map: the one with the largest sum over space in the image itself, unless another was asked for."""
    label: int
    """The right class."""
    in_the_open: tuple[float, float, int]
    """Total activation, probability and prediction of the image itself."""


@checked()
def occlusion(
    f: Callable[[Array], Any],
    image: ArrayLike,
    layer: str,
    *,
    label: int | None = None,
    logits: str | None = None,
    channel: int | None = None,
    size: int | None = None,
    stride: int | None = None,
    background: float | Sequence[float] = 0.5,
    rule: Rule = "deconvnet",
    value_range: ValueRange = (0, 1),
    batch_size: int | None = None,
) -> Occlusion:
    """Slide a square over an image, and watch the strongest map of a layer and the classes.

    The image is cut into cells of `stride` pixels, the last ones over the border by as much as the first; the square,
    of `size` pixels, is centred on each in turn, so that every pixel is covered where size >= stride. By default it
    is a quarter of the shorter side, at a stride of a quarter of its own. `background` is its value, one or one for
    each channel. Squares are drawn, and all their images evaluated, in compiled batches: `batch_size` images at a time.

    `f` takes images (batch, height, width, channels) and returns activations, one of them `logits` (batch, classes), by
    default the network's output, and one `layer`, maps (batch, rows, columns, channels). `label` is the right class, by
    default the most probable.

    Raises InputError as `project` does, and for a label, channel, size, stride or background that does not fit.
    Source: Zeiler & Fergus 2014, section 4.2.
    """
    if np.ndim(image) != 3:
        raise InputError(f"image has shape {np.shape(image)}: expected one image, (height, width, channels)")
    images = checked_images(np.asarray(image)[None], value_range)
    side = min(images.shape[1:3])
    size = max(1, side // 4) if size is None else size
    stride = max(1, size // 4) if stride is None else stride
    if not 0 < size <= side or not 0 < stride <= side:
        raise InputError(
            f"size={size} and stride={stride} must be positive, and no more than the image's {side} pixels"
        )
    color = np.asarray(background, images.dtype)
    if color.shape not in ((), (images.shape[-1],)) or not np.isfinite(color).all():
        raise InputError(
            f"background={background}: give one finite value, or one for each of {images.shape[-1]} channels"
        )
    at = _positions(f, images, layer, logits)
    watch = compiled(_watched, f, static=("size", "at"))
    totals, outside = (np.asarray(part[0]) for part in _of_image(f, images, at))
    channel, label = (
        _chosen(name, value, of) for name, value, of in (("channel", channel, totals), ("label", label, outside))
    )
    picture = Projector(f, layer, rule=rule, value_range=value_range)(np.asarray(images[0]), channel)
    options: dict[str, Any] = dict(size=size, at=at)
    starts, centers = zip(*(_grid(n, size, stride) for n in images.shape[1:3]), strict=True)
    corners = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int32)
    batch_size = most_at_once(images.shape) if batch_size is None else batch_size
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size} must be positive")
    parts = [
        [np.asarray(part)[:count] for part in watch(images[0], corners[rows], color, channel, label, **options)]
        for rows, count in batches(len(corners), batch_size)
    ]
    shape = tuple(map(len, starts))
    total, probability, prediction = (np.concatenate(of).reshape(shape) for of in zip(*parts, strict=True))
    open_probability = np.asarray(jax.nn.softmax(outside))[label]
    return Occlusion(
        np.asarray(images[0]),
        total,
        picture.pictures[0],
        probability,
        prediction,
        centers,
        channel,
        label,
        (float(totals[channel]), float(open_probability), int(outside.argmax())),
    )


@checked()
def cover(
    images: Float[Array, "batch height width channels"],
    corners: Int[Array, "batch 2"],
    *,
    size: int,
    background: Float[Array, "*channels"],
) -> Float[Array, "batch height width channels"]:
    """Each image with a square of `size` pixels covered. `corners`, its first row and column, may lie outside.

    Raises InputError unless `size` is a whole number of pixels, at least 1, and for corners or a background that do
    not fit.
    """
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InputError(f"size={size} must be a whole number of pixels, at least 1")
    if images.ndim != 4 or corners.shape != (len(images), 2) or background.shape not in ((), images.shape[-1:]):
        raise InputError(
            f"images {images.shape}, corners {corners.shape} and background {background.shape}: expected (batch, "
            "height, width, channels), a row and a column for each image, and one value or one for each channel"
        )
    if len(corners) != len(images):
        raise InputError(f"corners has {len(corners)} entries for {len(images)} images; give one for each")
    rows, columns = (jnp.arange(n)[None] - corners[:, i : i + 1] for i, n in enumerate(images.shape[1:3]))
    inside = [(d >= 0) & (d < size) for d in (rows, columns)]
    covered = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return jnp.where(covered, jnp.broadcast_to(background, images.shape), images)


def _grid(n: int, size: int, stride: int) -> tuple[Int[np.ndarray, " cells"], Float[np.ndarray, " cells"]]:
    """Along one axis, where the square begins for each cell, and where its centre is."""
    cells = -(-n // stride)
    first = (n - stride * (cells - 1) - size) // 2
    starts = first + stride * np.arange(cells)
    return starts, starts + (size - 1) / 2


def _positions(f: Callable[[Array], Any], images: Array, layer: str, logits: str | None) -> tuple[int, int]:
    """Where the maps and the logits are among the arrays that f returns."""
    struct = jax.ShapeDtypeStruct(images.shape, images.dtype)
    position, shape = find_activation(f, struct, layer)
    if len(shape) != 3:
        raise InputError(f"layer {layer!r} has shape {(1, *shape)}: expected maps (batch, rows, columns, channels)")
    return position, find_logits(f, images, logits)[0]


def _chosen(name: str, value: int | None, scores: Float[np.ndarray, " n"]) -> int:
    if not np.isfinite(scores).all():
        raise InputError("f is not finite for this image: repair its parameters")
    if value is not None and not 0 <= value < len(scores):
        raise InputError(f"{name}={value} must be from 0 and below {len(scores)}")
    return int(scores.argmax()) if value is None else int(value)


def _of_image(f: Callable[[Array], Any], images: Array, at: tuple[int, int]) -> tuple[Array, Array]:
    return compiled(_answers, f, static=("at",))(images, at=at)


def _answers(f: Callable[[Array], Any], images: Array, at: tuple[int, int]) -> tuple[Array, Array]:
    """The sum of each map, and the logits."""
    maps, logits = (wide(jax.tree.leaves(f(images))[position]) for position in at)
    return maps.sum((1, 2)), logits


def _watched(
    f: Callable[[Array], Any],
    image: Array,
    corners: Array,
    background: Array,
    channel: Array,
    label: Array,
    size: int,
    at: tuple[int, int],
) -> tuple[Array, Array, Array]:
    """Total activation, probability and prediction for each position of the square."""
    images = jnp.broadcast_to(image[None], (len(corners), *image.shape))
    totals, logits = _answers(f, cover(images, corners, size=size, background=background), at)
    return totals[:, channel], jax.nn.softmax(logits)[:, label], logits.argmax(-1)
