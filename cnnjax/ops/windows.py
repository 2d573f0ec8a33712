"""Windows as slices of the whole map and as blocks: what pools are made of that `lax.reduce_window` does not give."""

import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array


def window_views(
    x: Array, axis: int, window: int, stride: int, pair: tuple[int, int], fill: float | int
) -> list[Array]:
    """The map as each place of a window along `axis` sees it: `views[j][i] = x[s i + j − before]`, `fill` outside."""
    size, last = x.shape[axis], x.ndim - 2
    count = (size + sum(pair) - window) // stride + 1
    rows = count + (window - 1) // stride
    # Two ways to take every s-th row, of one meaning; the figures are max pooling, forward and gradient, 3×3/2 on two
    # CPU cores. Where the axis is cut into its phases, the transpose sets whole phases side by side; where slices have
    # a stride, it adds up maps that are mostly zeros (8×112×112×64 padded by 1: 12 against 27 ms). But phases need
    # `rows · s` rows, and to pad a map that was not to be padded copies it, unless the pad goes into a computation
    # before it. The last axis is the one that pools start with (32×27×27×192: 23 against 10 ms).
    if axis == last and not any(pair) and rows * stride > size:
        return [lax.slice_in_dim(x, j, j + stride * (count - 1) + 1, stride, axis) for j in range(window)]
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (pair[0], rows * stride - size - pair[0], 0)
    x = lax.pad(x, jnp.asarray(fill, x.dtype), config)
    phases = lax.split(x.reshape(*x.shape[:axis], rows, stride, *x.shape[axis + 1 :]), (1,) * stride, axis + 1)
    phases = [lax.squeeze(phase, (axis + 1,)) for phase in phases]
    return [lax.slice_in_dim(phases[j % stride], j // stride, j // stride + count, axis=axis) for j in range(window)]


def first_maximum(x: Array, axis: int, window: int, stride: int, pair: tuple[int, int]) -> tuple[Array, Array]:
    """The maximum of each window along `axis` and its place there, the first of equals; NaN is the maximum.

    The place is never in the padding, which counts as −∞: not even where everything in the window is −∞.
    """
    best, *others = window_views(x, axis, window, stride, pair, -np.inf)
    dtype = np.min_scalar_type(window - 1)
    first_inside = np.maximum(pair[0] - stride * np.arange(best.shape[axis]), 0).astype(dtype)
    place = lax.broadcast_in_dim(first_inside, best.shape, (axis,))
    for j, view in enumerate(others, start=1):
        # NaN compares false with everything: it beats numbers, and stays once it is there.
        better = (best == best) & ~(view <= best)
        best = jnp.where(better, view, best)
        place = jnp.where(better, dtype.type(j), place)
    return best, place


def at_place(views: list[Array], place: Array) -> Array:
    """Of each window the value at one place: linear in the views, so its transpose puts values back there."""
    nothing = jnp.zeros((), views[0].dtype)
    return functools.reduce(jnp.add, [jnp.where(place == j, view, nothing) for j, view in enumerate(views)])


def blocks(x: Array, size: Sequence[int]) -> Array:
    """Cut the map into blocks: for each spatial axis one axis with the block's number and one with the place inside.

    `blocks[b, i, j, i', j', c] = x[b, s i + j, s' i' + j', c]`; rows that fill no block are left out.
    """
    counts = [n // k for n, k in zip(x.shape[1:-1], size, strict=True)]
    whole = (slice(count * k) for count, k in zip(counts, size, strict=True))
    split = (extent for pair in zip(counts, size, strict=True) for extent in pair)
    return x[:, *whole].reshape(x.shape[0], *split, x.shape[-1])
