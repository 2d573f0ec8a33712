"""One or several units of an activation of a function of images."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from cnnjax.analysis.inputs.images import finite_images, image_struct
from cnnjax.analysis.inputs.layers import find_layer
from cnnjax.door.arrays import as_numpy
from cnnjax.door.words import in_line
from cnnjax.errors import InputError
from cnnjax.program.names import leaf_names
from cnnjax.program.tracing import shapes_of

Unit = int | tuple[int, ...] | Sequence[int] | Sequence[tuple[int, ...]] | np.ndarray | jax.Array
"""Which units of an activation: see `checked_units`."""


def find_unit(
    f: Callable[[jax.Array], Any], images: Any, layer: str | None, unit: int | Sequence[int] | None
) -> tuple[int, tuple[int, ...]]:
    """The position of the layer's activation among the arrays that f returns, and the unit's index in it.

    `layer` is the activation's key, or its path in what `f` returns, "1/conv1"; None where there is one activation.
    `unit` is a tuple, its index after the batch axis, (row, column, channel), or (row, column) for all channels there;
    or an int, the channel, at the middle of the map. None is the middle, the lower index of two, with all channels.

    Raises InputError for images that are none or not finite, an unknown layer and a unit that there is not.
    """
    struct = image_struct(finite_images(images))
    result = shapes_of(f, struct)
    position = find_layer(layer, leaf_names(result))
    index = _checked_unit(unit, jax.tree.leaves(result)[position].shape, space=struct.shape[1:-1])
    return position, index


def unit_response(f: Callable[[jax.Array], Any], images: jax.Array, position: int, index: tuple[int, ...]) -> jax.Array:
    """`activation[:, *index]` for the activation at a position of f's result."""
    return jax.tree.leaves(f(images))[position][:, *index]


def _checked_unit(
    unit: int | Sequence[int] | None, shape: tuple[int, ...], *, space: tuple[int, ...]
) -> tuple[int, ...]:
    if not shape:
        raise InputError("the activation is a scalar for the whole batch: it has no units")
    if not isinstance(unit, Sequence):
        if len(shape) != len(space) + 2 and (unit is None or len(shape) != 2):
            raise InputError(f"the activation of shape {shape} has no spatial axes and so no middle: give the unit")
        unit = tuple((n - 1) // 2 for n in shape[1:-1]) + (() if unit is None else (unit,))
    index = tuple(unit)
    whole = all(isinstance(i, int | np.integer) for i in index)
    if len(index) >= len(shape) or not whole or not all(0 <= i < n for i, n in zip(index, shape[1:], strict=False)):
        raise InputError(
            f"unit={in_line(unit)}: give a channel, or up to {len(shape) - 1} indices, whole numbers from 0 and below "
            f"{shape[1:]}"
        )
    return index


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
