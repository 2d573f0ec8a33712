"""What arrives at a map on the way back from single units: a window of it for each."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

Space = tuple[int, int]
Units = tuple[Array, Array]
"""Row and column of each unit in its own map."""


class Axis(NamedTuple):
    """Where a window lies along an axis: from position `stride · u + start` on, for the unit at u.

    The stride is 0 where it is the whole axis.
    """

    size: int
    stride: int
    start: int


class Signal(NamedTuple):
    """What arrives at a map for each unit, in a window of it; 0 elsewhere, and where the window leaves the map."""

    values: Array
    axes: tuple[Axis, Axis]


def read_by(axis: Axis, size: int, stride: int, before: int) -> Axis:
    """The positions that a window of outputs reads: those of `size` positions, `stride` apart."""
    return Axis(stride * (axis.size - 1) + size, axis.stride * stride, axis.start * stride - before)


def cut(maps: Array, axes: tuple[Axis, Axis], at: Units) -> Array:
    """The window of a map for each unit, 0 outside the map; axes of one position are left to broadcasting."""
    for i, axis in enumerate(axes):
        if axis.stride and maps.shape[1 + i] > 1:
            pad = [(0, 0)] * 4
            pad[1 + i] = (axis.size, axis.size)
            maps = jnp.pad(maps, pad)
    sizes = [a.size if a.stride and n > 1 else n for a, n in zip(axes, maps.shape[1:3], strict=True)]
    if sizes == [*maps.shape[1:3]]:
        return maps
    part = functools.partial(lax.dynamic_slice, slice_sizes=(*sizes, maps.shape[-1]))
    zero = jnp.zeros_like(at[0])
    starts = [
        a.stride * u + a.start + a.size if a.stride and n > 1 else zero
        for a, u, n in zip(axes, at, maps.shape[1:3], strict=True)
    ]
    if maps.shape[0] == 1:
        return jax.vmap(lambda row, column: part(maps[0], (row, column, 0)))(*starts)
    return jax.vmap(lambda one, row, column: part(one, (row, column, 0)))(maps, *starts)


def fitted(signal: Signal, at: Units, space: Space) -> Signal:
    """The same without what lies outside the map: whole where that is no larger than the window."""
    for i, n in enumerate(space):
        axis = signal.axes[i]
        if not axis.stride or axis.size >= n:
            signal = spread(signal, at, i, n)
            continue
        positions = axis.stride * at[i][:, None] + axis.start + jnp.arange(axis.size)[None]
        inside = (positions >= 0) & (positions < n)
        inside = inside[:, :, None, None] if i == 0 else inside[:, None, :, None]
        signal = signal._replace(values=jnp.where(inside, signal.values, jnp.zeros((), signal.values.dtype)))
    return signal


def spread(signal: Signal, at: Units, i: int, n: int) -> Signal:
    """The signal along the whole of an axis of n positions."""
    axis, values = signal.axes[i], signal.values
    nothing = jnp.zeros((), values.dtype)
    config = [(0, 0, 0)] * 4
    if axis.stride:
        config[1 + i] = (n, n, 0)
        starts = n - (axis.stride * at[i] + axis.start)
        padded = lax.pad(values, nothing, config)
        values = jax.vmap(lambda one, start: lax.dynamic_slice_in_dim(one, start, n, i))(padded, starts)
    else:
        config[1 + i] = (axis.start, n - axis.start - axis.size, 0)
        values = lax.pad(values, nothing, config)
    axes = list(signal.axes)
    axes[i] = Axis(n, 0, 0)
    return Signal(values, (axes[0], axes[1]))


def summed(a: Signal, b: Signal, at: Units, space: Space) -> Signal:
    """Two signals at one map."""
    for i, n in enumerate(space):
        if a.axes[i].stride != b.axes[i].stride:
            a, b = spread(a, at, i, n), spread(b, at, i, n)
    ends = [
        (min(p.start, q.start), max(p.start + p.size, q.start + q.size)) for p, q in zip(a.axes, b.axes, strict=True)
    ]
    axes = tuple(Axis(high - low, p.stride, low) for (low, high), p in zip(ends, a.axes, strict=True))

    def widened(signal: Signal) -> Array:
        pads = [
            (p.start - q.start, q.start + q.size - p.start - p.size) for p, q in zip(signal.axes, axes, strict=True)
        ]
        return jnp.pad(signal.values, [(0, 0), *pads, (0, 0)])

    return Signal(widened(a) + widened(b), (axes[0], axes[1]))
