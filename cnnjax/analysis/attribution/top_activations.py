"""Which images excite each map of a layer most, where in them, and what of them (Zeiler & Fergus 2014, figure 2)."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cnnjax.analysis.attribution.backward.project import Projector
from cnnjax.analysis.attribution.backward.rectifiers import rectifiers
from cnnjax.analysis.attribution.backward.relu_rules import Rule, check_report
from cnnjax.analysis.fields.receptive_field import ReceptiveField, receptive_field
from cnnjax.analysis.inputs.batches import batches, most_at_once
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import Images, ValueRange, checked_images
from cnnjax.analysis.inputs.layers import find_activation
from cnnjax.analysis.inputs.norms import wide
from cnnjax.analysis.inputs.units import checked_units
from cnnjax.door import checked
from cnnjax.door.words import in_line
from cnnjax.errors import InputError
from cnnjax.reporting import Report, silent

PROJECTED = 32
"""Units that are mapped back to pixels at a time."""

Best = tuple[Array, Array, Array]
"""The k largest activations of each map, negated, with their image and place: each (k, maps), in order."""


@dataclasses.dataclass(frozen=True, eq=False)
class TopActivations:
    """The k strongest activations of each map over a dataset, one of an image at most, the strongest first.

    Tiles are of the size of a unit's receptive field, or of the image along an axis where the field is no smaller.
    What lies outside the image, or outside the field, is NaN in them.
    """

    channels: Int[np.ndarray, " maps"]
    """The channel of each map."""
    images: Int[np.ndarray, "maps k"]
    """In which image."""
    places: Int[np.ndarray, "maps k axes"]
    """Where in the map: the index between the batch axis and the channel, row and column."""
    values: Float[np.ndarray, "maps k"]
    """How strong."""
    windows: Int[np.ndarray, "maps k space ends"]
    """First and last pixel of the unit's receptive field along each image axis, clipped to the image."""
    patches: Float[np.ndarray, "maps k *tile channels"]
    """The image there, as the function saw it."""
    pictures: Float[np.ndarray, "maps k *tile channels"] | None
    """The unit's projection there (`Projector`), in units of the activation; it is 0 outside the field."""


@checked("channels")
def top_activations(
    f: Callable[[Array], Any],
    images: Images,
    layer: str | None = None,
    *,
    k: int = 9,
    channels: Sequence[int] | None = None,
    index: Sequence[int] | np.ndarray | None = None,
    rule: Rule | None = "deconvnet",
    value_range: ValueRange = (0, 1),
    batch_size: int | None = None,
    progress: Report = silent,
) -> TopActivations:
    """The k strongest activations of each map of a layer over `images`, with their patches and projections.

    Of one image a map's maximum counts, at its first place in row-major order. Equal activations of two images stand
    in the order of their `index`, which is how the images are called in the result: 0, 1, ... by default, so that a
    dataset that comes in another order, with its indices, gives the same result. So does any `batch_size`, as far as f
    gives an image the same numbers in any batch; compiled programs may round in another way for another one.

    `images` are floats (images, height, width, channels), or signals, or uint8, which are divided by 255; one batch at
    a time goes to the device, and nothing but the best k of each map stays there. `f`, `layer`, `rule` and
    `value_range` are those of `Projector`; `channels` are those wanted, all by default. Without a `rule` nothing is
    projected. `progress(done, total, text)` is called after each batch of images.

    Raises InputError as `Projector` does, for k below 1 or above the number of images, an index that repeats itself or
    is not one for each image, activations that are not finite (naming the image), and a layer that mixes the images of
    a batch.
    """
    pixels = _checked(images, value_range)
    if not isinstance(k, int | np.integer) or not 1 <= k <= len(pixels):
        raise InputError(
            f"k={k} must be at least 1, and at most the {len(pixels)} images of the dataset, a whole number"
        )
    names = _names(index, len(pixels))
    usual = most_at_once(pixels.shape)
    batch = min(len(pixels), usual if batch_size is None else batch_size)
    if batch < 1:
        raise InputError(f"batch_size={batch_size} must be positive")
    struct = jax.ShapeDtypeStruct((2, *pixels.shape[1:]), _floats(pixels[:0]).dtype)
    position, shape = find_activation(f, struct, layer)
    if channels is not None and not isinstance(channels, Sequence | np.ndarray):
        raise InputError(f"channels={in_line(channels)} must be channels, one number each")
    units = checked_units(None if channels is None else list(channels), shape)
    if (units[:, :-1] >= 0).any():
        raise InputError(f"channels={channels!r} must be channels, one number each")
    field: ReceptiveField = jax.tree.leaves(receptive_field(f, struct))[position]
    if field.mixes_images:
        raise InputError(f"layer {layer!r} mixes the images of a batch: which are best would depend on the batches")
    if rule is not None:
        # Before the search, which may be long.
        check_report(rectifiers(f, struct), rule, "keep")
    found = _search(f, position, pixels, names, units[:, -1], k, batch, progress)
    return _with_tiles(f, layer, pixels, names, units[:, -1], found, shape, field, rule, value_range)


def _checked(images: Any, value_range: ValueRange) -> Any:
    if hasattr(images, "dtype") and images.dtype == np.uint8:
        checked_images(_floats(images[:1]), None)
        return images
    return checked_images(images, value_range)


def _names(index: Sequence[int] | np.ndarray | None, count: int) -> np.ndarray:
    names = np.arange(count) if index is None else np.asarray(index)
    if names.shape != (count,) or names.dtype.kind not in "iu" or len(np.unique(names)) != count:
        raise InputError(f"index must be one whole number for each of {count} images, none twice")
    return names.astype(np.int32)


def _floats(pixels: Any) -> Any:
    """Images as the function takes them."""
    return pixels.astype(np.float32) / np.float32(255) if pixels.dtype == np.uint8 else pixels


def _search(
    f: Callable[[Array], Any],
    position: int,
    pixels: Any,
    names: np.ndarray,
    channels: np.ndarray,
    k: int,
    batch: int,
    progress: Report,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The value, the image's name and the flat place of the best, each (maps, k)."""
    step = compiled(_step, f, static=("position",))
    like = jax.eval_shape(functools.partial(_layer, f, position=position), _floats(pixels[:1]))
    nothing = np.zeros((k, len(channels)), np.int32)
    best = jnp.full(nothing.shape, jnp.inf, like.dtype), jnp.asarray(nothing), jnp.asarray(nothing)
    done = 0
    for rows, count in batches(len(pixels), batch):
        best, finite = step(best, pixels[rows], names[rows], count, channels, position=position)
        if not finite.all():
            bad = names[rows][~np.asarray(finite)][0]
            raise InputError(f"the layer's activations of image {bad} are not finite: repair the network or drop it")
        done += count
        progress(done, len(pixels), "images")
    negated, image, place = (np.asarray(a).T for a in best)
    return -negated, image, place


def _layer(f: Callable[[Array], Any], images: Array, position: int) -> Array:
    return wide(jax.tree.leaves(f(images))[position])


def _step(
    f: Callable[[Array], Any], best: Best, images: Array, name: Array, count: Array, channels: Array, position: int
) -> tuple[Best, Array]:
    """The best of those so far and of the first `count` images, and whether each image's activations are finite."""
    activation = _layer(f, _floats(images), position)
    flat = activation.reshape(len(images), -1, activation.shape[-1])[..., channels]
    new = jnp.arange(len(images)) < count
    # Images that fill up the batch come last, and would be seen twice.
    value = jnp.where(new[:, None], -flat.max(1), jnp.full_like(flat[:, 0], jnp.inf))
    rows = value, jnp.broadcast_to(name[:, None], value.shape), flat.argmax(1).astype(jnp.int32)
    both = tuple(jnp.concatenate(pair) for pair in zip(best, rows, strict=True))
    negated, image, place = (a[: len(best[0])] for a in jax.lax.sort(both, dimension=0, num_keys=2))
    return (negated, image, place), jnp.isfinite(activation).reshape(len(images), -1).all(1)


def _with_tiles(
    f: Callable[[Array], Any],
    layer: str | None,
    pixels: Any,
    names: np.ndarray,
    channels: np.ndarray,
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
    shape: tuple[int, ...],
    field: ReceptiveField,
    rule: Rule | None,
    value_range: ValueRange,
) -> TopActivations:
    values, image, place = found
    maps, k = values.shape
    places = np.stack(np.unravel_index(place, shape[:-1]), -1) if len(shape) > 1 else np.empty((maps, k, 0), np.int64)
    units = np.concatenate([places, np.broadcast_to(channels[:, None, None], (maps, k, 1))], -1).reshape(maps * k, -1)
    spans, windows = (np.array(ends) for ends in zip(*[_spans(field, unit, shape) for unit in units], strict=True))
    order = np.argsort(names)
    rows = order[np.searchsorted(names, image.ravel(), sorter=order)]

    size = np.array(field.image_size)
    tile = np.minimum((spans[..., 1] - spans[..., 0] + 1).max(0), size)
    # A tile as large as the image shows it where it is.
    corner = windows[..., 0] - np.where(tile < size, spans[..., 0], 0)
    patches = np.full((maps * k, *tile, pixels.shape[-1]), np.nan, _floats(pixels[:0]).dtype)
    pictures = None if rule is None else patches.copy()
    projector = None if rule is None else Projector(f, layer, rule=rule, value_range=value_range, batch_size=PROJECTED)
    for chosen, count in batches(maps * k, PROJECTED):
        seen = np.asarray(_floats(pixels[rows[chosen]]))
        projected = None if projector is None else projector.each(seen, units[chosen]).pictures
        for i, n in enumerate(chosen[:count]):
            inside = tuple(slice(first, last + 1) for first, last in windows[n])
            there = tuple(
                slice(at, at + last + 1 - first) for at, (first, last) in zip(corner[n], windows[n], strict=True)
            )
            patches[n][there] = seen[i][inside]
            if pictures is not None and projected is not None:
                pictures[n][there] = projected[i][inside]
    return TopActivations(
        channels,
        image,
        places,
        values,
        windows.reshape(maps, k, *windows.shape[1:]),
        patches.reshape(maps, k, *patches.shape[1:]),
        None if pictures is None else pictures.reshape(maps, k, *pictures.shape[1:]),
    )


def _spans(
    field: ReceptiveField, index: Int[np.ndarray, " axes"], shape: tuple[int, ...]
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """The span of a unit's field, and the part of it that lies in the image; `index` is that in the activation."""
    unit = [0] * len(field.axis)
    for axis in {axis for axis in field.axis if axis is not None}:
        sharing = [i for i, other in enumerate(field.axis) if other == axis]
        sides = [field.units[i] for i in sharing]
        if np.prod(sides) != shape[axis - 1]:
            whole = tuple((0, n - 1) for n in field.image_size)
            return whole, whole
        for i, at in zip(sharing, np.unravel_index(index[axis - 1], sides), strict=True):
            unit[i] = int(at)
    return field.span(unit), field.clipped_span(unit)
