"""Views, permutations, cuts and joins: operations that put elements elsewhere."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cnnjax.models.bridge.laid import Laid, along, in_order, like_first, permute, plain, squeeze, unsqueeze, view


def _same(x: Any, *_: Any, **__: Any) -> Any:
    return x


def _transpose(x: Laid, first: int, second: int) -> Laid:
    dims = list(range(x.ndim))
    if dims:
        dims[first], dims[second] = dims[second], dims[first]
    return permute(x, dims)


def _expand(x: Laid, size: Sequence[int], **_: Any) -> Laid:
    while x.ndim < len(size):
        x = unsqueeze(x, 0)
    shape = [n if wanted == -1 else wanted for n, wanted in zip(x.shape, size, strict=True)]
    return Laid(jnp.broadcast_to(x.array, [shape[axis] for axis in x.axes]), x.axes)


def _repeat(x: Laid, times: Sequence[int]) -> Laid:
    while x.ndim < len(times):
        x = unsqueeze(x, 0)
    return Laid(jnp.tile(x.array, [times[axis] for axis in x.axes]), x.axes)


def _bounds(n: int, start: int | None, end: int | None) -> tuple[int, int]:
    first, last = (min(max(i + n if i < 0 else i, 0), n) for i in (start or 0, n if end is None else end))
    return first, max(first, last)


def _slice(x: Laid, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Laid:
    first, last = _bounds(x.shape[dim], start, end)
    return along(lambda a, axis: lax.slice_in_dim(a, first, last, step, axis), x, dim)


def _select(x: Laid, dim: int, index: int) -> Laid:
    first = index % x.shape[dim]
    return squeeze(along(lambda a, axis: lax.slice_in_dim(a, first, first + 1, axis=axis), x, dim), [dim])


def split_at(x: Laid, sizes: Sequence[int], dim: int = 0) -> list[Laid]:
    """Parts of these sizes along an axis."""
    ends = np.cumsum(sizes).tolist()
    return [_slice(x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _split(x: Laid, size: int, dim: int = 0) -> list[Laid]:
    n = x.shape[dim]
    return split_at(x, [min(size, n - start) for start in range(0, n, size)], dim)


def _chunk(x: Laid, chunks: int, dim: int = 0) -> list[Laid]:
    return _split(x, -(-x.shape[dim] // chunks), dim)


def _unbind(x: Laid, dim: int = 0) -> list[Laid]:
    return [_select(x, dim, i) for i in range(x.shape[dim])]


def _cat(arrays: Sequence[Laid], dim: int = 0) -> Laid:
    # PyTorch leaves out arrays of shape (0,).
    arrays = [x for x in arrays if x.shape != (0,)] or list(arrays)[:1]
    axes = max(arrays, key=lambda x: math.prod(x.shape)).axes
    return Laid(jnp.concatenate([in_order(x, axes) for x in arrays], axes.index(dim % len(axes))), axes)


def _stack(arrays: Sequence[Laid], dim: int = 0) -> Laid:
    dim %= arrays[0].ndim + 1
    return _cat([unsqueeze(x, dim) for x in arrays], dim)


def _roll(x: Laid, shifts: Sequence[int], dims: Sequence[int] = ()) -> Laid:
    if not dims:
        return view(_roll(view(x, [-1]), shifts, [0]), x.shape)
    return Laid(jnp.roll(x.array, tuple(shifts), tuple(map(x.place, dims))), x.axes)


def _flip(x: Laid, dims: Sequence[int]) -> Laid:
    return Laid(jnp.flip(x.array, tuple(map(x.place, dims))), x.axes)


_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad(x: Laid, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Laid:
    pairs = [(0, 0)] * x.ndim
    for number in range(len(pad) // 2):
        pairs[x.ndim - 1 - number] = pad[2 * number], pad[2 * number + 1]
    if mode == "constant":
        config = [(*pairs[axis], 0) for axis in x.axes]
        return Laid(lax.pad(x.array, jnp.asarray(value or 0, x.dtype), config), x.axes)
    for axis, pair in enumerate(pairs):
        first, last = (max(-n, 0) for n in pair)
        if first or last:
            x = _slice(x, axis, first, x.shape[axis] - last)
    widths = [tuple(max(n, 0) for n in pairs[axis]) for axis in x.axes]
    mode_: Any = _MODES[mode]
    return Laid(jnp.pad(x.array, widths, mode_), x.axes)


def _padded(mode: str) -> Callable[[Laid, Sequence[int]], Laid]:
    return lambda x, pad: _pad(x, pad, mode)


def _index_select(x: Laid, dim: int, index: Laid) -> Laid:
    return along(lambda a, axis: jnp.take(a, index.array.reshape(-1), axis, mode="clip"), x, dim)


@like_first
def _index(x: Array, indices: Sequence[Array | None]) -> Array:
    return x[tuple(slice(None) if index is None else index for index in indices)]


@like_first
def _gather(x: Array, dim: int, index: Array, *, sparse_grad: bool = False) -> Array:
    start = tuple(slice(n) for n in index.shape)
    cut = tuple(slice(None) if axis == dim % x.ndim else part for axis, part in enumerate(start))
    return jnp.take_along_axis(x[cut], index, axis=dim)


def _embedding(weight: Laid, indices: Laid, *_: Any, **__: Any) -> Laid:
    return plain(jnp.take(in_order(weight), in_order(indices), axis=0, mode="clip"))


@like_first
def _tril(x: Array, diagonal: int = 0) -> Array:
    return jnp.tril(x, diagonal)


@like_first
def _triu(x: Array, diagonal: int = 0) -> Array:
    return jnp.triu(x, diagonal)


def _select_scatter(x: Laid, source: Laid, dim: int, index: int) -> Laid:
    return _slice_scatter(x, unsqueeze(source, dim % x.ndim), dim, index % x.shape[dim], index % x.shape[dim] + 1)


def _slice_scatter(
    x: Laid, source: Laid, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Laid:
    first, last = _bounds(x.shape[dim], start, end)
    rows = np.arange(first, last, step)
    order = np.full(x.shape[dim], -1)
    order[rows] = np.arange(len(rows))
    places = np.where(order < 0, np.arange(x.shape[dim]), x.shape[dim] + order)
    return _index_select(_cat([x, source.to(x.dtype)], dim), dim, plain(places))


def _unfold(x: Laid, dim: int, size: int, step: int) -> Laid:
    """Windows along an axis, their positions on a new last axis."""
    dim %= x.ndim
    starts = range(0, x.shape[dim] - size + 1, step)
    parts = [_slice(x, dim, j, j + starts[-1] + 1, step) for j in range(size)]
    return _stack(parts, x.ndim)


def _view_last(x: Laid, size: Sequence[int], *_: Any) -> Laid:
    return view(x, size)


def _squeeze_dims(x: Laid, dims: Sequence[int] | int | None = None) -> Laid:
    return squeeze(x, range(x.ndim) if dims is None else [dims] if isinstance(dims, int) else dims)


def _flatten(x: Laid, start: int = 0, end: int = -1) -> Laid:
    if not x.ndim:
        return view(x, [1])
    start, end = start % x.ndim, end % x.ndim
    return view(x, [*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]])


def _unflatten(x: Laid, dim: int, sizes: Sequence[int]) -> Laid:
    dim %= x.ndim
    sizes = [x.shape[dim] // -math.prod(sizes) if n == -1 else n for n in sizes]
    return view(x, [*x.shape[:dim], *sizes, *x.shape[dim + 1 :]])


def _diagonal(x: Laid, offset: int = 0, first: int = 0, second: int = 1) -> Laid:
    return plain(jnp.diagonal(in_order(x), offset, first, second))


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    f"aten.{name}": f
    for name, f in {
        **dict.fromkeys(
            (
                *("alias.default", "clone.default", "contiguous.default", "detach.default", "lift_fresh_copy.default"),
                *("_to_copy.default", "to.dtype", "to.dtype_layout", "to.device", "to.other", "type_as.default"),
                *("dropout.default", "alpha_dropout.default", "feature_dropout.default", "positive.default"),
            ),
            _same,
        ),
        **dict.fromkeys(("view.default", "reshape.default", "_unsafe_view.default", "view_copy.default"), _view_last),
        **dict.fromkeys(("flatten.using_ints",), _flatten),
        "unflatten.int": _unflatten,
        "permute.default": permute,
        **dict.fromkeys(("transpose.int", "swapaxes.default"), _transpose),
        "t.default": lambda x: _transpose(x, 0, -1),
        "unsqueeze.default": unsqueeze,
        **dict.fromkeys(("squeeze.default", "squeeze.dim", "squeeze.dims"), _squeeze_dims),
        "expand.default": _expand,
        "expand_as.default": lambda x, other: _expand(x, other.shape),
        "copy.default": lambda x, source, *_: _expand(source, x.shape),
        **dict.fromkeys(("repeat.default", "tile.default"), _repeat),
        "slice.Tensor": _slice,
        "select.int": _select,
        "narrow.default": lambda x, dim, start, length: _slice(x, dim, start, start + length),
        "split.Tensor": _split,
        **dict.fromkeys(("split_with_sizes.default", "split.sizes"), split_at),
        "chunk.default": _chunk,
        "unbind.int": _unbind,
        "cat.default": _cat,
        "stack.default": _stack,
        "roll.default": _roll,
        "flip.default": _flip,
        "pad.default": _pad,
        "constant_pad_nd.default": lambda x, pad, value=0: _pad(x, pad, value=value),
        **{f"reflection_pad{n}d.default": _padded("reflect") for n in (1, 2)},
        **{f"replication_pad{n}d.default": _padded("replicate") for n in (1, 2)},
        "index_select.default": _index_select,
        "index.Tensor": _index,
        "gather.default": _gather,
        "embedding.default": _embedding,
        "tril.default": _tril,
        "triu.default": _triu,
        "select_scatter.default": _select_scatter,
        "slice_scatter.default": _slice_scatter,
        "unfold.default": _unfold,
        **dict.fromkeys(("diagonal.default",), _diagonal),
    }.items()
}
