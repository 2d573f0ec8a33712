"""Rules of the primitives that read or write at indices: exact for indices known from the program, else by bounds."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jax.lax import GatherScatterMode

from cnnjax.program.reach.bounds import Bounds
from cnnjax.program.reach.known import Call, Known
from cnnjax.program.reach.merge import union
from cnnjax.program.reach.reach import Reach
from cnnjax.program.reach.window import Window

Operands = Sequence[Reach | None]


def _dynamic_slice(call: Call, operands: Operands) -> Reach:
    shape = call.shape
    x = operands[0]
    if x is None:
        return _of_indices(operands[1:], shape)
    for axis, start in enumerate(call.inputs[1 : 1 + len(shape)]):
        n, size = x.shape[axis], shape[axis]
        if size != n:
            low, high = (int(end) for end in _clamped(start.bounds, n - size))
            x = x.read(axis, Window.affine(n, size, start=low, taps=high - low + 1))
    return x


def _dynamic_update_slice(call: Call, operands: Operands) -> Reach:
    x, update = operands[:2]
    shape = call.shape
    if x is None and update is None:
        return _of_indices(operands[2:], shape)
    for axis, start in enumerate(call.inputs[2 : 2 + len(shape)]):
        if update is not None and (size := update.shape[axis]) != shape[axis]:
            low, high = (int(end) for end in _clamped(start.bounds, shape[axis] - size))
            update = update.read(axis, _placed(size, shape[axis], low, high))
    return union([x, update])


def _of_indices(indices: Operands, shape: Sequence[int]) -> Reach:
    """The reach of what depends on the images only through where a constant is read or written."""
    return union([i and i.collapse(range(len(i.axes))).arrange([None] * len(shape), shape) for i in indices])


def _clamped(bounds: Bounds, last: int) -> Bounds:
    return np.clip(bounds[0], 0, last), np.clip(bounds[1], 0, last)


def _placed(size: int, n: int, low: int, high: int) -> Window:
    """The window of n elements, among which `size` were put somewhere between starts `low` and `high`."""
    return Window.affine(size, n, start=-high, taps=high - low + 1)


Name = tuple[str, int]
"""An axis of the operand, ("operand", d), or of the indices, ("index", j)."""


class _Named:
    """A reach whose axes go by names while they are taken apart."""

    def __init__(self, reach: Reach, names: Sequence[Name]):
        self.reach, self.names = reach, list(names)

    def varies(self, name: Name) -> bool:
        return self.reach.varies(self.names.index(name))

    def read(self, name: Name, window: Window) -> None:
        self.reach = self.reach.read(self.names.index(name), window)

    def collapse(self, name: Name) -> None:
        self.reach = self.reach.collapse([self.names.index(name)])

    def split(self, name: Name, names: Sequence[Name], sizes: Sequence[int]) -> None:
        axis = self.names.index(name)
        self.reach = self.reach.regroup(axis, axis + 1, sizes)
        self.names[axis : axis + 1] = names

    def join(self, names: Sequence[Name], name: Name) -> None:
        """Make these axes one, in row-major order; of none, a new one with a single index."""
        order = [n for n in self.names if n not in names] + list(names)
        axes = [self.names.index(n) for n in order]
        self.reach = self.reach.arrange(axes, [self.reach.shape[a] for a in axes])
        start = len(order) - len(names)
        size = math.prod(self.reach.shape[start:])
        self.reach = self.reach.regroup(start, len(order), (size,))
        self.names = [*order[:start], name]

    def arrange(self, names: Sequence[Name], shape: Sequence[int]) -> Reach:
        """The reach with these axes; those missing make no difference."""
        return self.reach.arrange([self.names.index(n) if n in self.names else None for n in names], shape)


def _starts(known: Known, component: int, last: int, mode: GatherScatterMode) -> tuple[list[int], Bounds]:
    """Bounds of one component of the indices, and the axes of the indices that they depend on; size 1 on the others."""
    low, high = (end[..., component].astype(np.int64) for end in known.bounds)
    # Indices out of bounds are dropped in one mode, moved inside in the others.
    beyond = 1 if mode is GatherScatterMode.FILL_OR_DROP else 0
    low, high = (np.clip(end, -beyond, last + beyond) for end in (low, high))
    for axis in range(low.ndim):
        first = low.take([0], axis), high.take([0], axis)
        if (low == first[0]).all() and (high == first[1]).all():
            low, high = first
    return [axis for axis in range(low.ndim) if low.shape[axis] > 1], (low, high)


def _gather(call: Call, operands: Operands) -> Reach:
    numbers, sizes, shape = call.params["dimension_numbers"], call.params["slice_sizes"], call.shape
    x, indices = operands
    index_names = [("index", j) for j in range(len(call.inputs[1].shape) - 1)]
    dropped = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    windows = iter([("operand", d) for d in range(len(sizes)) if d not in dropped])
    others = iter(index_names)
    names = [next(windows if axis in numbers.offset_dims else others) for axis in range(len(shape))]
    if x is None:
        assert indices is not None
        return _Named(indices.collapse([len(index_names)]), [*index_names, ("component", 0)]).arrange(names, shape)
    axes = _Named(x, [("operand", d) for d in range(len(sizes))])
    for d, j in zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True):
        axes.split(("operand", d), [("index", j)], [x.shape[d]])
    for d, size in enumerate(sizes):
        name, n = ("operand", d), x.shape[d]
        if d in numbers.operand_batching_dims or not axes.varies(name):
            continue
        if d not in numbers.start_index_map:
            axes.read(name, Window.affine(n, size))
            continue
        varying, (low, high) = _starts(call.inputs[1], numbers.start_index_map.index(d), n - size, call.params["mode"])
        new = [("index", j) for j in varying]
        if not varying:
            axes.read(name, Window.affine(n, size, start=low.item(), taps=high.item() - low.item() + 1))
        elif size > 1 or set(new) & set(axes.names):
            axes.collapse(name)
        else:
            axes.read(name, _between(low.ravel(), high.ravel(), n))
            axes.split(name, new, [call.inputs[1].shape[j] for j in varying])
    return axes.arrange(names, shape)


def _between(low: np.ndarray, high: np.ndarray, n: int) -> Window:
    """The window that reads elements `low[u]` to `high[u]`, as far as there are n."""
    low, high = np.maximum(low, 0), np.minimum(high, n - 1)
    index = low[:, None] + np.arange(max(1, int((high - low).max()) + 1))[None]
    return Window.tabulated(np.where(index <= high[:, None], index, -1), n)


def _scatter(call: Call, operands: Operands) -> Reach:
    numbers, shape = call.params["dimension_numbers"], call.shape
    x, indices, updates = operands
    if x is None and updates is None:
        return _of_indices([indices], shape)
    if updates is None:
        return union([x])
    windowed = [
        d for d in range(len(shape)) if d not in (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    ]
    windows, others = iter(windowed), iter(range(len(updates.axes)))
    names = [
        ("operand", next(windows)) if axis in numbers.update_window_dims else ("index", next(others))
        for axis in range(len(updates.axes))
    ]
    axes = _Named(updates, names)
    for d, j in zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True):
        axes.split(("index", j), [("operand", d)], [shape[d]])
    for d, n in enumerate(shape):
        name = ("operand", d)
        size = updates.shape[names.index(name)] if d in windowed else 1
        if d in numbers.operand_batching_dims:
            continue
        varying, (low, high) = [], (np.zeros(1, int), np.zeros(1, int))
        if d in numbers.scatter_dims_to_operand_dims:
            component = numbers.scatter_dims_to_operand_dims.index(d)
            varying, (low, high) = _starts(call.inputs[1], component, n - size, call.params["mode"])
        if not varying:
            if d not in windowed:
                axes.join([], name)
            if size != n:
                axes.read(name, _placed(size, n, low.item(), high.item()))
        elif size == 1 and all(("index", j) in axes.names for j in varying):
            if d in windowed:
                axes.split(name, [], [])
            axes.join([("index", j) for j in varying], name)
            axes.read(name, _landing(low.ravel(), high.ravel(), n))
        elif d in windowed:
            axes.collapse(name)
    for name in [name for name in axes.names if name[0] == "index"]:
        axes.collapse(name)
    return union([x, axes.arrange([("operand", d) for d in range(len(shape))], shape)])


def _landing(low: np.ndarray, high: np.ndarray, n: int) -> Window:
    """The window of n elements that reads, for each, the updates that may land there."""
    places = np.arange(n)[:, None]
    may = (low[None] <= places) & (places <= high[None])
    index = np.sort(np.where(may, np.arange(len(low))[None], -1), axis=1)[:, ::-1]
    return Window.tabulated(index[:, : max(1, int(may.sum(1).max()))], len(low))


SCATTERS = ("scatter", "scatter-add", "scatter-sub", "scatter-mul", "scatter-min", "scatter-max")

INDEXING: Mapping[str, Callable[..., Reach]] = {
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": _gather,
    **dict.fromkeys(SCATTERS, _scatter),
}
