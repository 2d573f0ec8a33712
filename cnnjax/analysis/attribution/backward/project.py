"""Projections: an activation mapped back to the pixels that it comes from (Zeiler & Fergus 2014)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from cnnjax import runtime
from cnnjax.analysis.attribution.backward.pool_rules import with_pool_rule
from cnnjax.analysis.attribution.backward.relu_rules import Others, Rule, with_relu_rule
from cnnjax.analysis.attribution.backward.windowed import windowed
from cnnjax.analysis.inputs.batches import batches
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import ValueRange, checked_images
from cnnjax.analysis.inputs.layers import find_activation
from cnnjax.analysis.inputs.units import Unit, checked_units, found_units
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.unpooling import Overlap

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


@checked()
def project(
    f: Callable[[jax.Array], Any],
    image: ArrayLike,
    layer: str | None = None,
    unit: Unit | None = None,
    *,
    rule: Rule = "deconvnet",
    overlap: Overlap = "add",
    others: Others = "keep",
    value_range: ValueRange = (0, 1),
    batch_size: int = 32,
) -> Projection:
    """Map activations of a layer back to pixels: `Projector(f, layer, rule=rule, ...)(image, unit)`.

    Source: Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 2.1.
    """
    projector = Projector(
        f, layer, rule=rule, overlap=overlap, others=others, value_range=value_range, batch_size=batch_size
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
    bounds the memory.

    Raises InputError as `with_relu_rule` and `with_pool_rule` do, and for an unknown layer, a unit that there is not,
    an image of the wrong shape, dtype or range, or numbers that are not finite.
    """

    @checked()
    def __init__(
        self,
        f: Callable[[jax.Array], Any],
        layer: str | None = None,
        *,
        rule: Rule = "deconvnet",
        overlap: Overlap = "add",
        others: Others = "keep",
        value_range: ValueRange = (0, 1),
        batch_size: int = 32,
    ):
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
        return Projection(self._down(way, index, values), index, values)

    def gradients(self, image: Array, index: Int[np.ndarray, "units axes"]) -> tuple[np.ndarray, np.ndarray]:
        """The values of units of one image, and their pictures of a signal of 1: under "gradient" their gradients."""
        position, _ = self._activation(image[None])
        activation, way = self._forward(image[None], position=position, each=False)
        values = np.asarray(activation[0])[tuple(index.T)]
        return values, self._down(way, index, np.ones_like(values))

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

    def _down(self, way: Way, index: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The pictures of units that hold these values, a batch at a time."""
        parts = batches(len(index), self._batch_size)
        return np.concatenate([np.asarray(_pictures(way, index[rows], values[rows]))[:n] for rows, n in parts])

    def _activation(self, images: Array) -> tuple[int, tuple[int, ...]]:
        return self._find(jax.ShapeDtypeStruct(images.shape, images.dtype))


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
