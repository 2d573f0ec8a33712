"""The value of one unit for each image of a batch, and its gradient: what attributions are made of."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cnnjax.analysis.attribution.backward.project import Projector
from cnnjax.analysis.attribution.backward.relu_rules import Rule, with_relu_rule
from cnnjax.analysis.inputs.batches import batches
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import ValueRange, checked_images
from cnnjax.analysis.inputs.layers import find_activation
from cnnjax.analysis.inputs.units import Unit, checked_units, found_units
from cnnjax.errors import InputError
from cnnjax.program.names import leaf_names
from cnnjax.program.tracing import shapes_of


@dataclasses.dataclass(frozen=True, eq=False)
class Attribution:
    """What each pixel has to do with one unit's value, image by image; or with each of all units, on a second axis."""

    maps: Float[np.ndarray, "batch *units_space channels"]
    units: Int[np.ndarray, "batch *units axes"]
    """The index of each image's unit in the activation, after the batch axis."""
    values: Float[np.ndarray, " batch *units"]
    """The unit's value for each image."""


class UnitScores:
    """One unit of an activation for each image, as functions of the images to evaluate and differentiate.

    `f` takes images (batch, height, width, channels), or signals (batch, length, channels), that do not meet in it.
    `layer` is the activation's key or path; None is the network's output: the only array that f returns, the one with
    the key "logits", or the first of a tuple. `unit` is an int, the channel, of whose map it is the first maximum of
    each image; an index tuple; an array (batch,) or (batch, axes) with one for each image; or None for the largest of
    the whole activation, of logits the most probable class. "all" stands for all channels, of maps the first maximum of
    each: every image then has a row of units, which go back `batch_size` at a time behind one forward pass.

    Raises InputError for images of the wrong shape, dtype or `value_range` or not finite, for an unknown layer, a unit
    that there is not, or another number of them.
    """

    def __init__(
        self,
        f: Callable[[Array], Any],
        images: Any,
        layer: str | None,
        unit: Unit | Literal["all"] | None,
        *,
        value_range: ValueRange,
        rule: Rule = "gradient",
        batch_size: int = 32,
    ):
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size} must be positive")
        self.images, self._batch_size = checked_images(images, value_range), batch_size
        struct = jax.ShapeDtypeStruct(self.images.shape, self.images.dtype)
        self.position, shape = find_activation(f, struct, layer, output=True)
        self._value = compiled(_value, f, static=("position",))
        self._gradient = compiled(_gradient, f, static=("position", "rule"))
        self._rule: Rule = rule
        self.index = self._found(unit, shape)
        if self.index.ndim == 3:
            name = leaf_names(shapes_of(f, struct))[self.position]
            self._projector = Projector(f, name, rule=rule, value_range=None, batch_size=batch_size)

    def values(self, images: Float[Array, " batch *image"]) -> Float[np.ndarray, " batch *units"]:
        """The units' values for other images in these images' places."""
        if self.index.ndim == 3:
            return np.stack([a[tuple(of.T)] for a, of in zip(self._activation(images), self.index, strict=True)])
        evaluated = (self._value(images[rows], self.index[rows], position=self.position) for rows, _ in self._rows())
        return self._whole(evaluated)

    def gradient(self, images: Float[Array, " batch *image"]) -> tuple[np.ndarray, ...]:
        """The units' values, and for each its gradient with respect to its image."""
        if self.index.ndim == 3:
            pairs = map(self._projector.gradients, images, self.index)
            return tuple(map(np.stack, zip(*pairs, strict=True)))
        return self.evaluate(self._gradient, images, rule=self._rule)

    def evaluate(
        self, program: Callable[..., Any], images: Float[Array, " batch *image"], **options: Any
    ) -> tuple[np.ndarray, ...]:
        """The arrays that a program makes of the images and of the place of their units, batch by batch."""
        parts = [program(images[rows], self.index[rows], position=self.position, **options) for rows, _ in self._rows()]
        return tuple(map(self._whole, zip(*parts, strict=True)))

    def attribution(self, maps: np.ndarray, values: np.ndarray | None = None) -> Attribution:
        """Maps of these units; with the values for the images themselves, unless they are at hand."""
        return Attribution(maps, self.index, self.values(self.images) if values is None else values)

    def _rows(self) -> Iterator[tuple[np.ndarray, int]]:
        return batches(len(self.images), self._batch_size)

    def _whole(self, parts: Any) -> np.ndarray:
        counts = (count for _, count in self._rows())
        return np.concatenate([np.asarray(part)[:count] for part, count in zip(parts, counts, strict=True)])

    def _activation(self, images: Float[Array, " batch *image"]) -> np.ndarray:
        whole = functools.partial(self._value, index=None, position=self.position)
        return self._whole(whole(images[rows]) for rows, _ in self._rows())

    def _found(self, unit: Any, shape: tuple[int, ...]) -> Int[np.ndarray, "batch *units axes"]:
        count = len(self.images)
        if isinstance(unit, str):
            if unit != "all":
                raise InputError(f"unit={unit!r}: give a channel, an index, one of these for each image, or 'all'")
            return np.stack([found_units(a, checked_units(None, shape))[0] for a in self._activation(self.images)])
        wanted = np.full((count, len(shape)), -1) if unit is None else checked_units(unit, shape)
        if len(wanted) not in (1, count):
            raise InputError(f"{len(wanted)} units for {count} images: give one, or one for each")
        wanted = np.broadcast_to(wanted, (count, len(shape)))
        if (wanted >= 0).all():
            return wanted
        activation = self._activation(self.images)
        if not np.isfinite(activation).all():
            raise InputError("the activation is not finite for these images: there is no largest unit")
        if unit is None:
            return np.stack(np.unravel_index(activation.reshape(count, -1).argmax(1), shape), axis=1)
        return np.concatenate([found_units(a, w[None])[0] for a, w in zip(activation, wanted, strict=True)])


def of_each(f: Callable[[Array], Any], images: Array, index: Array, position: int) -> Float[Array, " batch"]:
    """The unit at `index` (batch, axes) of each image in the activation at that position of f's result."""
    return jax.tree.leaves(f(images))[position][jnp.arange(len(images)), *index.T]


def _value(f: Callable[[Array], Any], images: Array, index: Array | None, position: int) -> Array:
    return jax.tree.leaves(f(images))[position] if index is None else of_each(f, images, index, position)


def _gradient(
    f: Callable[[Array], Any], images: Array, index: Array, position: int, rule: Rule
) -> tuple[Float[Array, " batch"], Float[Array, " batch *image"]]:
    ruled = f if rule == "gradient" else with_relu_rule(f, rule)

    def total(x: Array) -> tuple[Array, Array]:
        # Images do not meet in f, so the gradient of the sum holds that of each.
        values = of_each(ruled, x, index, position)
        return values.sum(), values

    maps, values = jax.grad(total, has_aux=True)(images)
    return values, maps
