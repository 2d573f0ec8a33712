"""Arrays with PyTorch's axes that lie in another order in memory: maps (batch, channels, height, width), channels last.

What only moves axes costs nothing here, and element-wise operations keep the order, so a network's maps lie from the
first layer to the last as the rest of the library has them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}
"""By rank: the order in memory of signals and maps with their channels last."""


class Laid(NamedTuple):
    """An array and, for each of its axes, which axis of PyTorch's it is."""

    array: Array
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape as PyTorch has it."""
        return tuple(self.array.shape[place] for place in self.places)

    @property
    def places(self) -> tuple[int, ...]:
        """Where in memory each of PyTorch's axes is."""
        return tuple(sorted(range(len(self.axes)), key=self.axes.__getitem__))

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.axes)

    @property
    def dtype(self) -> np.dtype:
        """That of the array."""
        return self.array.dtype

    def place(self, axis: int) -> int:
        """Where in memory one of PyTorch's axes is, which may count from the end."""
        return self.axes.index(axis % max(self.ndim, 1))

    def to(self, dtype: Any) -> "Laid":
        """The same in another dtype."""
        return self if self.dtype == dtype else Laid(self.array.astype(dtype), self.axes)


def plain(array: Any) -> Laid:
    """An array whose axes are PyTorch's."""
    array = jnp.asarray(array)
    return Laid(array, tuple(range(array.ndim)))


def in_order(x: Laid, axes: Sequence[int] | None = None) -> Array:
    """The array with its axes in an order of PyTorch's axes, in PyTorch's own if None."""
    axes = range(x.ndim) if axes is None else axes
    moved = tuple(x.axes.index(axis) for axis in axes)
    return x.array if moved == tuple(range(x.ndim)) else lax.transpose(x.array, moved)


def channels_last(x: Laid) -> Array:
    """A signal or map with its channels behind its positions."""
    return in_order(x, LAST[x.ndim])


def elementwise(f: Callable[..., Array], *operands: Any) -> Laid:
    """`f` of operands that are broadcast as PyTorch does; the result lies as the largest operand."""
    arrays = [x for x in operands if isinstance(x, Laid)]
    rank = max(x.ndim for x in arrays)
    axes = max((x for x in arrays if x.ndim == rank), key=lambda x: math.prod(x.array.shape)).axes
    return Laid(f(*(_fitted(x, axes) if isinstance(x, Laid) else x for x in operands)), axes)


def _fitted(x: Laid, axes: tuple[int, ...]) -> Array:
    """An array in an order of more axes, of which it has the last."""
    if x.axes == axes or not x.ndim:
        return x.array
    missing = len(axes) - x.ndim
    array = in_order(x, [axis - missing for axis in axes if axis >= missing])
    return lax.expand_dims(array, [place for place, axis in enumerate(axes) if axis < missing])


def permute(x: Laid, dims: Sequence[int]) -> Laid:
    """PyTorch's axes in another order; the array stays where it is."""
    new = {old % x.ndim: axis for axis, old in enumerate(dims)}
    return Laid(x.array, tuple(new[axis] for axis in x.axes))


def along(f: Callable[..., Array], x: Laid, axis: int) -> Laid:
    """`f` of the array and the place of an axis, the axes staying what they are."""
    return Laid(f(x.array, x.place(axis)), x.axes)


def without(axes: Sequence[int], dropped: Sequence[int]) -> tuple[int, ...]:
    """An order of axes without some of them, the others renumbered."""
    kept = [axis for axis in axes if axis not in dropped]
    return tuple(sorted(kept).index(axis) for axis in kept)


def reduce(f: Callable[..., Array], x: Laid, dims: Sequence[int] | int | None, keepdim: bool = False) -> Laid:
    """`f(array, axes, keepdims)` over some of PyTorch's axes, over all if None or empty."""
    dims = [dims] if isinstance(dims, int) else list(dims or range(x.ndim))
    dropped = [dim % max(x.ndim, 1) for dim in dims] if x.ndim else []
    result = f(x.array, tuple(x.place(dim) for dim in dropped), keepdim)
    return Laid(result, x.axes if keepdim else without(x.axes, dropped))


def unsqueeze(x: Laid, dim: int) -> Laid:
    """A new axis of one, which lies in memory before the axis that it precedes."""
    dim %= x.ndim + 1
    axes = [axis + (axis >= dim) for axis in x.axes]
    place = axes.index(dim + 1) if dim + 1 in axes else len(axes)
    return Laid(lax.expand_dims(x.array, [place]), (*axes[:place], dim, *axes[place:]))


def squeeze(x: Laid, dims: Sequence[int]) -> Laid:
    """Without those of some axes that have one position."""
    dropped = [dim % x.ndim for dim in dims if x.shape[dim] == 1] if x.ndim else []
    return Laid(lax.squeeze(x.array, tuple(x.place(dim) for dim in dropped)), without(x.axes, dropped))


def view(x: Laid, size: Sequence[int]) -> Laid:
    """The numbers in PyTorch's order as an array of another shape; axes that keep their size stay where they are."""
    old, new = x.shape, _known(size, math.prod(x.shape))
    if old == new:
        return x
    x = squeeze(x, [axis for axis, n in enumerate(old) if n == 1])
    groups = _groups(x.shape, [n for n in new if n != 1]) if 0 not in old else None
    if groups is None:
        return plain(in_order(x).reshape(new))
    axes = list(x.axes)
    for merged, _ in groups:
        # What is merged must lie together: at the end of memory if it has the last axis there, as channels do.
        if len(merged) > 1:
            at = len(axes) - len(merged) if axes[-1] in merged else min(map(axes.index, merged))
            rest = [axis for axis in axes if axis not in merged]
            axes = [*rest[:at], *merged, *rest[at:]]
    array, order, sizes = in_order(x, axes), [], []
    parts = {merged[0]: split for merged, split in groups}
    starts = {merged[0]: sum(len(s) for m, s in groups if m[0] < merged[0]) for merged, _ in groups}
    for axis in axes:
        if axis in parts:
            order += range(starts[axis], starts[axis] + len(parts[axis]))
            sizes += parts[axis]
    result = Laid(array if array.shape == tuple(sizes) else array.reshape(sizes), tuple(order))
    for axis, n in enumerate(new):
        if n == 1:
            result = unsqueeze(result, axis)
    return result


def _known(size: Sequence[int], count: int) -> tuple[int, ...]:
    """A shape with the size that is left to be found, -1."""
    known = math.prod(n for n in size if n != -1)
    return tuple(count // max(known, 1) if n == -1 else n for n in size)


def _groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The least parts of a reshape: axes that are merged, and the sizes of those that they are split into."""
    groups, i, j = [], 0, 0
    while i < len(old):
        merged, split = [i], [new[j]]
        i, j = i + 1, j + 1
        while (have := math.prod(old[axis] for axis in merged)) != (want := math.prod(split)):
            if have < want:
                merged.append(i)
                i += 1
            else:
                split.append(new[j])
                j += 1
        groups.append((merged, split))
    return groups


def like_first(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays with PyTorch's axes; a result of the first array's rank lies as that did."""

    def run(*args: Any, **options: Any) -> Any:
        first: list[Laid] = []

        def opened(value: Any) -> Any:
            if isinstance(value, Laid):
                first.append(value)
                return in_order(value)
            return type(value)(map(opened, value)) if isinstance(value, (list, tuple)) else value

        def closed(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return type(value)(map(closed, value))
            if not hasattr(value, "ndim"):
                return value
            axes = first[0].axes if first and first[0].ndim == value.ndim else tuple(range(value.ndim))
            return Laid(in_order(plain(value), axes), axes)

        return closed(f(*map(opened, args), **{key: opened(value) for key, value in options.items()}))

    return run
