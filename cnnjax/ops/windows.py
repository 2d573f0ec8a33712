"""Windows along one axis, by programs whose size does not follow the window's: what pools are made of.

Short windows are read as views, one for each place in the window. Long ones are folded: a window of 2, 4, 8, … blocks
is two of half as many, so that 1000 places take ten steps.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

LONGEST_VIEWED = 32
"""The longest window that is read as views, of which each is compiled."""


class Slide(NamedTuple):
    """Windows along one axis: window i reads the positions `s i + d j − before`, j below `size`."""

    axis: int
    size: int
    stride: int
    pair: tuple[int, int] = (0, 0)
    """Positions before and after the map that windows read."""
    dilation: int = 1
    beyond: int = 0
    """Positions after these, which the last window reaches with `ceil_mode`."""

    @property
    def span(self) -> int:
        """The size with the dilation, `d (k − 1) + 1`."""
        return self.dilation * (self.size - 1) + 1

    def count(self, n: int) -> int:
        """The number of windows on a map of n positions."""
        return (n + sum(self.pair) + self.beyond - self.span) // self.stride + 1

    def first_inside(self, n: int) -> np.ndarray:
        """For each window its first place on the map, if any is."""
        before = self.pair[0] - self.stride * np.arange(self.count(n))
        return np.maximum(-(-before // self.dilation), 0)

    def inside(self, n: int, *, pair: tuple[int, int] = (0, 0)) -> np.ndarray:
        """For each window the number of its places on the map, extended by `pair` positions."""
        start = self.stride * np.arange(self.count(n)) - self.pair[0]
        first = np.maximum(-((start + pair[0]) // self.dilation), 0)
        last = np.minimum((n + pair[1] - 1 - start) // self.dilation, self.size - 1)
        return np.maximum(last - first + 1, 0)


def reduce_window(x: Array, slides: Sequence[Slide], initial: float, operation: Callable[..., Any]) -> Array:
    """`lax.reduce_window` over these slides, one or more."""

    def each(otherwise: Any, value: Callable[[Slide], Any]) -> list[Any]:
        values: list[Any] = [otherwise] * x.ndim
        for slide in slides:
            values[slide.axis] = value(slide)
        return values

    return lax.reduce_window(
        x,
        initial,
        operation,
        each(1, lambda s: s.size),
        each(1, lambda s: s.stride),
        each((0, 0), lambda s: (s.pair[0], s.pair[1] + s.beyond)),
        window_dilation=each(1, lambda s: s.dilation),
    )


def window_views(x: Array, slide: Slide, fill: float | int) -> list[Array]:
    """The map as each place of a window sees it: `views[j][i] = x[s i + d j − before]`, `fill` outside."""
    axis, last = slide.axis, x.ndim - 2
    size, count = x.shape[axis], slide.count(x.shape[axis])
    stride = slide.stride if count > 1 else 1
    places = range(0, slide.span, slide.dilation)
    rows = count + (slide.span - 1) // stride
    # Two ways to take every s-th row, of one meaning; the figures are max pooling, forward and gradient, 3×3/2 on two
    # CPU cores. Where the axis is cut into its phases, the transpose sets whole phases side by side; where slices have
    # a stride, it adds up maps that are mostly zeros (8×112×112×64 padded by 1: 12 against 27 ms). But phases need
    # `rows · s` rows, and to pad a map that was not to be padded copies it, unless the pad goes into a computation
    # before it. The last axis is the one that pools start with (32×27×27×192: 23 against 10 ms).
    if axis == last and not any(slide.pair) and not slide.beyond and rows * stride > size:
        return [lax.slice_in_dim(x, j, j + stride * (count - 1) + 1, stride, axis) for j in places]
    rest = _split(_lengthened(x, axis, slide.pair[0], rows * stride, fill), axis, stride)
    wanted = sorted({j % stride for j in places})
    if len(wanted) == wanted[-1] + 1:
        rest = lax.slice_in_dim(rest, 0, len(wanted), axis=axis + 1)
        phases = dict(zip(wanted, lax.split(rest, (1,) * len(wanted), axis + 1), strict=True))
    else:
        phases = {phase: lax.slice_in_dim(rest, phase, phase + 1, axis=axis + 1) for phase in wanted}
    phases = {phase: lax.squeeze(part, (axis + 1,)) for phase, part in phases.items()}
    return [lax.slice_in_dim(phases[j % stride], j // stride, j // stride + count, axis=axis) for j in places]


Parts = tuple[Array, ...]


def fold(
    arrays: Parts,
    slide: Slide,
    fills: Sequence[float | int],
    along: Callable[[Parts, int], Parts],
    both: Callable[[Parts, Parts], Parts],
) -> Parts:
    """Reduce each window of maps of one shape, given how to reduce a whole axis and how to join two results.

    `both` is associative; what it is given first comes first in the window.
    """
    axis, size, stride, count = slide.axis, slide.size, slide.stride, slide.count(arrays[0].shape[slide.axis])

    def split(length: int, into: int) -> Parts:
        filled = zip(arrays, fills, strict=True)
        return tuple(_split(_lengthened(a, axis, slide.pair[0], length, fill), axis, into) for a, fill in filled)

    if slide.dilation > 1:
        # Every d-th position is a map of its own, on which windows are dense.
        reach = (count - 1) * stride + 1
        rows = -(-reach // slide.dilation) + size - 1
        dense = fold(split(rows * slide.dilation, slide.dilation), Slide(axis, size, 1), fills, along, both)
        whole = (a.reshape(*a.shape[:axis], a.shape[axis] * slide.dilation, *a.shape[axis + 2 :]) for a in dense)
        return tuple(lax.slice_in_dim(a, 0, reach, stride, axis) for a in whole)

    def cut(parts: Parts, start: int, stop: int, axis: int = axis) -> Parts:
        return tuple(lax.slice_in_dim(a, start, stop, axis=axis) for a in parts)

    stride = stride if count > 1 else size
    rows = count + (size - 1) // stride
    blocks = split(rows * stride, stride)
    whole, rest = divmod(size, stride)
    parts, start, power = [], 0, 1
    run = along(blocks, axis + 1) if whole else ()  # of `power` blocks, from each block on
    while power <= whole:
        if whole & power:
            parts.append(cut(run, start, start + count))
            start += power
        if 2 * power <= whole:
            run = both(cut(run, 0, rows - 2 * power + 1), cut(run, power, rows - power + 1))
        power *= 2
    if rest:
        parts.append(along(cut(cut(blocks, whole, whole + count), 0, rest, axis + 1), axis + 1))
    return functools.reduce(both, parts)


def first_maximum(x: Array, slide: Slide) -> tuple[Array, Array]:
    """The maximum of each window and its place there, the first of equals; NaN is the maximum.

    The place is never in the padding, which counts as −∞: not even where everything in the window is −∞. The derivative
    of the maximum is that of the value at its place.
    """
    best, place = _search(lax.stop_gradient(x), slide)
    return _moving_with(x, best, place, slide), place


def _search(x: Array, slide: Slide) -> tuple[Array, Array]:
    n = x.shape[slide.axis]
    dtype = np.min_scalar_type(slide.size - 1)
    first_inside = slide.first_inside(n)
    if slide.size > LONGEST_VIEWED:
        positions = lax.broadcasted_iota(jnp.int32, x.shape, slide.axis)
        best, position = fold((x, positions), slide, (-np.inf, 0), _first_along, _first_of_both)
        place = (position - _starts(slide, best.shape)) // slide.dilation
        inside = lax.broadcast_in_dim(first_inside.astype(np.int32), best.shape, (slide.axis,))
        return best, jnp.maximum(place, inside).astype(dtype)
    best, *others = window_views(x, slide, -np.inf)
    place = lax.broadcast_in_dim(first_inside.astype(dtype), best.shape, (slide.axis,))
    for j, view in enumerate(others, start=1):
        best, place = _first_of_both((best, place), (view, jnp.full_like(place, j)))
    return best, place


# The place is an argument and not a result: within `shard_map` JAX takes no derivative of an integer for a result.
@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _moving_with(x: Array, best: Array, place: Array, slide: Slide) -> Array:
    """`best`, which the search took from x at `place`, with that derivative."""
    return best


@_moving_with.defjvp
def _moving_with_jvp(slide: Slide, primals: tuple[Array, Array, Array], tangents: tuple[Array, Any, Any]) -> Any:
    """Pick the tangent of the first maximum: linear in the tangent, so its transpose is the gradient.

    Where windows overlap the transpose adds up, in float32 at least: in bfloat16 a sum stops at 256 equal terms.
    """
    x, best, place = primals
    tangent, *_ = tangents
    wide = tangent.astype(np.promote_types(tangent.dtype, np.float32))
    return _moving_with(x, best, place, slide), at_place(wide, slide, place).astype(tangent.dtype)


def at_place(x: Array, slide: Slide, place: Array) -> Array:
    """Of each window the value at one place on the map: linear in x, so its transpose puts values back there."""
    if slide.size > LONGEST_VIEWED:
        shape = list(x.shape)
        shape[slide.axis] = slide.count(x.shape[slide.axis])
        index = _starts(slide, shape) + slide.dilation * jnp.broadcast_to(place, shape).astype(jnp.int32)
        return jnp.take_along_axis(x, index, axis=slide.axis, mode="promise_in_bounds")
    nothing = jnp.zeros((), x.dtype)
    views = window_views(x, slide, 0)
    return functools.reduce(jnp.add, [jnp.where(place == j, view, nothing) for j, view in enumerate(views)])


def blocks(x: Array, size: Sequence[int]) -> Array:
    """Cut the map into blocks: for each spatial axis one axis with the block's number and one with the place inside.

    `blocks[b, i, j, i', j', c] = x[b, s i + j, s' i' + j', c]`; rows that fill no block are left out.
    """
    counts = [n // k for n, k in zip(x.shape[1:-1], size, strict=True)]
    whole = (slice(count * k) for count, k in zip(counts, size, strict=True))
    split = (extent for pair in zip(counts, size, strict=True) for extent in pair)
    return x[:, *whole].reshape(x.shape[0], *split, x.shape[-1])


def _first_of_both(first: Parts, second: Parts) -> Parts:
    (best, place), (other, elsewhere) = first, second
    # NaN compares false with everything: it beats numbers, and stays once it is there.
    better = (best == best) & ~(other <= best)
    return jnp.where(better, other, best), jnp.where(better, elsewhere, place)


def _first_along(parts: Parts, axis: int) -> Parts:
    place = jnp.expand_dims(lax.argmax(parts[0], axis, jnp.int32), axis)
    chosen = (jnp.take_along_axis(a, place, axis=axis, mode="promise_in_bounds") for a in parts)
    return tuple(lax.squeeze(a, (axis,)) for a in chosen)


def _starts(slide: Slide, shape: Sequence[int]) -> Array:
    """The position on the map at which each window of a result of that shape starts."""
    starts = slide.stride * np.arange(shape[slide.axis], dtype=np.int32) - slide.pair[0]
    return lax.broadcast_in_dim(starts, shape, (slide.axis,))


def _lengthened(x: Array, axis: int, before: int, length: int, fill: float | int) -> Array:
    """The map with `before` positions more in front, cut or filled to a length."""
    after = length - x.shape[axis] - before
    if before == after == 0:
        return x
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (before, after, 0)
    return lax.pad(x, jnp.asarray(fill, x.dtype), config)


def _split(x: Array, axis: int, size: int) -> Array:
    """One axis as two: numbers of blocks and places inside."""
    return x.reshape(*x.shape[:axis], x.shape[axis] // size, size, *x.shape[axis + 1 :])
