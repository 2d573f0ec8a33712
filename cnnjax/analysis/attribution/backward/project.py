"""Projections: an activation mapped back to the pixels that it comes from (Zeiler & Fergus 2014)."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from cnnjax import runtime
from cnnjax.analysis.attribution.backward.pool_rules import with_pool_rule
from cnnjax.analysis.attribution.backward.relu_rules import Others, Rule, check_rule, with_relu_rule
from cnnjax.analysis.attribution.backward.windowed import windowed
from cnnjax.analysis.fields.receptive_field import image_struct
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.units import find_activation
from cnnjax.door import checked
from cnnjax.door.arrays import as_numpy
from cnnjax.door.words import in_line
from cnnjax.errors import InputError
from cnnjax.ops.unpooling import Overlap

Unit = int | tuple[int, ...] | Sequence[int] | Sequence[tuple[int, ...]] | np.ndarray | jax.Array
"""Which units of an activation: see `Projector`."""
ValueRange = tuple[float | int, float | int] | None
"""Where the pixels of an image may lie; None for anywhere."""
Pull = Callable[[Array], tuple[Array]]
"""From signals at an activation to signals at the images."""
Way = Callable[[Array, Array], Array]
"""From the places and values of units to their pictures."""


@dataclasses.dataclass(frozen=True, eq=False)
class Projection:
    """Units of one activation, and their pictures in the space of the image."""

    pictures: Float[np.ndarray, "units *space channels"]
    """In units of the activation. They may be negative: the last step down is a linear filter."""
    units: Int[np.ndarray, "units axes"]
    """The index of each unit in the activation, after its batch axis: row, column, channel."""
    values: Float[np.ndarray, " units"]
    """The activation of each unit: what its picture was made from."""


@checked("rule", "others")
def project(
    f: Callable[[jax.Array], Any],
    image: ArrayLike,
    layer: str | None = None,
    unit: Unit | None = None,
    rule: Rule = "deconvnet",
    *,
    overlap: Overlap = "add",
    others: Others = "keep",
    value_range: ValueRange = (0, 1),
    batch_size: int = 32,
) -> Projection:
    """Map activations of a layer back to pixels: `Projector(f, layer, rule, ...)(image, unit)`.

    Source: Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 2.1.
    """
    projector = Projector(
        f, layer, rule, overlap=overlap, others=others, value_range=value_range, batch_size=batch_size
    )
    return projector(image, unit)


class Projector:
    """Maps activations of one layer of the function `f` back to pixels, image after image; it is compiled once.

    The picture of a unit with activation a is the vector-Jacobian product of f at the image, with `rule` at every
    rectifier (`with_relu_rule`), of the array that holds a at the unit and 0 elsewhere. With "deconvnet" it is what
    unpooling with the recorded switches, rectifying and filtering with the transposed kernels make of a, layer by
    layer. What Zeiler & Fergus leave open is decided by the derivative:

    - where pooling windows overlap, what they send to one pixel adds up; or, with another `overlap` than "add", the
      last window overwrites the others, or the largest value stays (`with_pool_rule`);
    - of equal maxima in a window the first in row-major order gets the signal, with the pools of `ops`;
    - batch normalisation with fixed statistics multiplies by its scale, as if folded into the convolution;
    - local response normalisation is differentiated, its denominator too; so are statistics of the image itself.

    The picture of a negative activation, one before its rectifier, has no meaning in the last two rules.

    `f` takes images (batch, height, width, channels), or signals (batch, length, channels), whose results do not depend
    on each other, and returns activations (batch, ..., channels). `layer` is a key or a path, "1/conv1"; None where f
    returns one array.

    A `unit` is a tuple, its index after the batch axis: `(row, column, channel)`; or an int, the channel, for the first
    maximum of that map. Several are an array or a list: (units,) of channels or (units, axes) of indices. None means
    the maximum of every map.

    `value_range` is where pixels may lie, None for anywhere; `batch_size` how many units go down at a time, which
    bounds the memory. Given as a `jax.tree_util.Partial(function, variables)`, networks of one architecture share one
    compilation.

    Raises InputError as `with_relu_rule` and `with_pool_rule` do, and for an unknown layer, a unit that there is not,
    an image of the wrong shape, dtype or range, or numbers that are not finite.
    """

    @checked("rule", "others")
    def __init__(
        self,
        f: Callable[[jax.Array], Any],
        layer: str | None = None,
        rule: Rule = "deconvnet",
        *,
        overlap: Overlap = "add",
        others: Others = "keep",
        value_range: ValueRange = (0, 1),
        batch_size: int = 32,
    ):
        check_rule(rule, others)
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size} must be positive")
        self._range, self._batch_size = value_range, batch_size
        forward = compiled(_forward, f, static=("position", "rule", "overlap", "others", "each"))
        self._forward = functools.partial(forward, rule=rule, overlap=overlap, others=others)
        self._find = functools.cache(lambda struct: find_activation(f, struct, layer))

    def __call__(self, image: Any, unit: Unit | None = None) -> Projection:
        """The pictures of some units for one image (height, width, channels), or one signal (length, channels).

        The image goes through f once, whatever the number of units.
        """
        if np.ndim(image) not in (2, 3):
            raise InputError(
                f"image has shape {np.shape(image)}: expected one image, (height, width, channels), or one signal, "
                "(length, channels); `each` takes several"
            )
        images = checked_images(np.asarray(image)[None], self._range)
        position, shape = self._activation(images)
        wanted = checked_units(unit, shape)
        activation, way = self._forward(images, position=position, each=False)
        index, values = found_units(np.asarray(activation[0]), wanted)
        pictures = [
            np.asarray(_pictures(way, index[rows], values[rows]))[:count]
            for rows, count in batches(len(index), self._batch_size)
        ]
        return Projection(np.concatenate(pictures), index, values)

    def each(self, images: Any, units: Unit) -> Projection:
        """The picture of one unit for each image of a batch: `units` has an entry for each."""
        images = checked_images(images, self._range)
        position, shape = self._activation(images)
        wanted = checked_units(units, shape)
        if len(wanted) != len(images):
            raise InputError(f"{len(wanted)} units for {len(images)} images: give one for each")
        parts: list[tuple[np.ndarray, ...]] = []
        for rows, count in batches(len(images), self._batch_size):
            activation, way = self._forward(images[rows], position=position, each=True)
            maps = np.asarray(activation)
            found = [found_units(a, one[None]) for a, one in zip(maps, wanted[rows], strict=True)]
            index, values = (np.concatenate(of) for of in zip(*found, strict=True))
            pictures = np.asarray(_pictures(way, index, values))
            parts.append((pictures[:count], index[:count], values[:count]))
        return Projection(*(np.concatenate(of) for of in zip(*parts, strict=True)))

    def _activation(self, images: Array) -> tuple[int, tuple[int, ...]]:
        return self._find(jax.ShapeDtypeStruct(images.shape, images.dtype))


def checked_images(images: Any, value_range: ValueRange) -> Array:
    """The images as an array of the dtype that JAX has for them.

    Raises InputError for images of the wrong shape or dtype, not finite or outside the range.
    """
    struct = image_struct(images)
    if value_range is not None and not (len(value_range) == 2 and value_range[0] < value_range[1]):
        raise InputError(
            f"value_range={value_range}: give the least and the greatest value of a pixel, or None for any"
        )
    values = np.asarray(images, np.float64)
    if not np.isfinite(values).all():
        raise InputError("the image contains NaN or infinity: repair or drop it")
    if value_range is not None and not (value_range[0] <= values.min() and values.max() <= value_range[1]):
        raise InputError(
            f"the image has values from {values.min():.4g} to {values.max():.4g}, outside {value_range}: divide "
            "pixels by 255, or give the value_range of what f takes, None for any"
        )
    return jnp.asarray(images, struct.dtype)


def checked_units(unit: Unit | None, shape: tuple[int, ...]) -> Int[np.ndarray, "units axes"]:
    """The index of each unit in an activation of that shape, −1 where the maximum over an axis is meant."""
    if unit is None:
        unit = np.arange(shape[-1])
    array = as_numpy("unit", unit)
    if isinstance(unit, tuple):
        array = array[None]
    array = np.atleast_1d(array)
    if array.dtype.kind not in "iu" or array.size == 0 or array.ndim > 2:
        raise InputError(f"unit={in_line(unit)}: give a channel, an index (row, column, channel), or an array of these")
    limits = shape if array.ndim == 2 else shape[-1:]
    index = array.reshape(len(array), -1).astype(np.int64)
    if index.shape[1] != len(limits):
        raise InputError(
            f"unit={in_line(unit)} has {index.shape[1]} numbers: an index has {len(limits)}, below {limits}"
        )
    bad = index[((index < 0) | (index >= limits)).any(1)]
    if len(bad):
        raise InputError(f"no unit {tuple(bad[0].tolist())}: from 0 and below {limits}, in an activation of {shape}")
    maximum = np.full((len(index), len(shape) - len(limits)), -1)
    return np.concatenate([maximum, index], axis=1)


def found_units(
    activation: Float[np.ndarray, "*shape"], wanted: Int[np.ndarray, "units axes"]
) -> tuple[Int[np.ndarray, "units axes"], Float[np.ndarray, " units"]]:
    """The units of one image's activation, with the first maximum of a map found, and their values."""
    space = activation.shape[:-1]
    first = activation.reshape(-1, activation.shape[-1]).argmax(0)
    places = np.stack([*np.unravel_index(first, space), np.arange(len(first))], axis=1) if space else None
    index = wanted if places is None else np.where(wanted < 0, places[wanted[:, -1]], wanted)
    values = activation[tuple(index.T)]
    if not np.isfinite(values).all():
        raise InputError(f"unit {tuple(index[~np.isfinite(values)][0].tolist())} is not finite for this image")
    return index, values


def batches(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Rows to take at a time, and how many of them are new: the last ones are filled up, to be compiled once."""
    size = min(size, count)
    for start in range(0, count, size):
        yield np.minimum(np.arange(start, start + size), count - 1), min(size, count - start)


def _forward(
    f: Callable[[Array], Any],
    images: Array,
    position: int,
    rule: Rule,
    overlap: Overlap,
    others: Others,
    each: bool,
) -> tuple[Array, Way]:
    """The layer's activation, and the way back from its units: of one image, or one unit of each."""
    if overlap == "add" and (found := windowed(f, images, position, rule, others)) is not None:
        return found
    ruled = with_relu_rule(f if overlap == "add" else with_pool_rule(f, overlap), rule, others=others)
    activation, pull = jax.vjp(lambda x: jax.tree.leaves(ruled(x))[position], images)
    return activation, Partial(_of_each if each else _of_one, pull, activation)


def _of_one(
    pull: Pull, activation: Array, index: Int[Array, "units axes"], values: Float[Array, " units"]
) -> Float[Array, "units *space channels"]:
    """The pictures of several units of one image, whose activation has the shape of `activation`."""

    def picture(unit: Array, value: Array) -> Array:
        return pull(jnp.zeros_like(activation).at[0, *unit].set(value))[0][0]

    return jax.vmap(picture)(index, values)


def _of_each(
    pull: Pull, activation: Array, index: Int[Array, "batch axes"], values: Float[Array, " batch"]
) -> Float[Array, "batch *space channels"]:
    """The picture of one unit of each image."""
    # Images do not meet in f, nor do their pictures on the way back.
    seeds = jnp.zeros_like(activation).at[jnp.arange(len(index)), *index.T].set(values)
    return pull(seeds)[0]


_pictures = runtime.jit(lambda way, index, values: way(index, values))
