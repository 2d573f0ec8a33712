"""Which activations of a function are maps over the image, on which axes, and how far apart their units lie."""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp

from cnnjax.analysis.fields.receptive_field import ReceptiveField, receptive_field
from cnnjax.errors import InputError
from cnnjax.program.names import leaf_names
from cnnjax.program.order import filled
from cnnjax.program.reach import Number
from cnnjax.program.tracing import shapes_of


@dataclasses.dataclass(frozen=True)
class Layout:
    """One activation: where its spatial axes are, none if it is no map."""

    name: str = dataclasses.field(compare=False)
    """Its path in what the function returns, "1/conv1"; "output" where that is one array. Layouts are equal without."""
    axes: tuple[int, ...]
    """The axis of the activation that runs along each image axis."""
    stride: tuple[Number, ...]
    """By how many pixels of the image neighbouring units lie apart, along each image axis."""

    def spatial(self, activation: jax.Array) -> jax.Array:
        """The activation with its spatial axes behind the first axis, (batch, *space, *channels)."""
        return jnp.moveaxis(activation, self.axes, range(1, 1 + len(self.axes)))


def layouts(f: Callable[[jax.Array], Any], images: Any) -> Any:
    """The `Layout` of every activation, as a tree like f's result; f is traced, not run.

    A map has one axis for each axis of the images, and its receptive field moves by one stride from each unit to the
    next along it: `receptive_field` knows the axes, in any order, and the stride. Where all units read the whole image,
    as behind squeeze-and-excitation or a normalisation over the map, or the windows that they share, as behind
    attention in windows, they do not step: then an array (batch, *space, ..., channels) is a map if its stride, pixels
    by units, is one whole number for all axes. What has no such axes, as logits and pooled features, is no map, nor is
    what has a single unit.

    Raises InputError, naming the activation, where neither is clear.
    """
    fields, results = receptive_field(f, images), shapes_of(f, images)
    shapes = [leaf.shape for leaf in jax.tree.leaves(results)]
    return filled(results, map(layout_of, leaf_names(results), shapes, jax.tree.leaves(fields)))


def layout_of(name: str, shape: tuple[int, ...], field: ReceptiveField) -> Layout:
    """The layout of one activation; raises InputError as `layouts` does."""
    axes = tuple(axis for axis in field.axis if axis is not None)
    stride, rank = field.stride, len(field.units)
    usual = tuple(range(1, 1 + rank))
    if not axes and len(shape) < rank + 2:
        return Layout(name, (), ())
    if not axes or (axes == usual and 0 in stride):
        axes = usual
        stride = tuple(Fraction(n, max(shape[axis], 1)) for axis, n in zip(axes, field.image_size, strict=True))
        evenly = len(set(stride)) == 1 and stride[0].denominator == 1
    else:
        evenly = len(set(axes)) == rank and 0 not in stride
    if {shape[axis] for axis in axes} == {1}:
        return Layout(name, (), ())
    if not evenly:
        raise InputError(
            f"activation {name} of shape {shape}: it is not clear which of its units lies where in images of "
            f"{' × '.join(map(str, field.image_size))} pixels. Return it as (batch, *space, channels), with units that "
            "step evenly along each axis (tokens by token_maps), or leave it out of what f returns"
        )
    return Layout(name, axes, stride)
