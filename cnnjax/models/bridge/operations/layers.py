"""Convolutions and pooling, by the library's own operations on maps with channels last."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from cnnjax import ops
from cnnjax.errors import InputError
from cnnjax.models.bridge.laid import LAST, Laid, channels_last, elementwise, in_order, unsqueeze, view
from cnnjax.models.bridge.operations.reductions import wide

Ints = Sequence[int] | int
Number = int | float


def _each(value: Any, rank: int) -> list[Any]:
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def _pairs(padding: Ints | str, rank: int) -> Any:
    return padding if isinstance(padding, str) else tuple((n, n) for n in _each(padding, rank))


def _batched(f: Callable[..., Laid], rank: int) -> Callable[..., Laid]:
    """The same function for a single map without an axis of batches too, as PyTorch takes it."""

    def run(x: Laid, *args: Any, **options: Any) -> Laid:
        if x.ndim == rank + 2:
            return f(x, *args, **options)
        one = f(unsqueeze(x, 0), *args, **options)
        return view(one, one.shape[1:])

    return run


def _conv(
    x: Laid,
    weight: Laid,
    bias: Laid | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Laid:
    rank = weight.ndim - 2
    kernel = in_order(weight, (*range(2, rank + 2), 1, 0))
    y = ops.conv(
        channels_last(x),
        kernel,
        stride=_each(stride, rank),
        padding=_pairs(padding, rank),
        dilation=_each(dilation, rank),
        groups=groups,
    )
    return _shifted(Laid(y, LAST[rank + 2]), bias)


def _conv_transpose(
    y: Laid,
    weight: Laid,
    bias: Laid | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Laid:
    rank = weight.ndim - 2
    stride, dilation, padding, more = (_each(value, rank) for value in (stride, dilation, padding, output_padding))
    window, space = weight.shape[2:], y.shape[2:]
    size = [
        (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for n, s, p, d, k, extra in zip(space, stride, padding, dilation, window, more, strict=True)
    ]
    x = ops.conv_transpose(
        channels_last(y),
        in_order(weight, (*range(2, rank + 2), 1, 0)),
        input_size=size,
        stride=stride,
        padding=_pairs(padding, rank),
        dilation=dilation,
        groups=groups,
    )
    return _shifted(Laid(x, LAST[rank + 2]), bias)


def _convolution(
    x: Laid,
    weight: Laid,
    bias: Laid | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    transposed: bool,
    output_padding: Ints,
    groups: int,
) -> Laid:
    if transposed:
        return _conv_transpose(x, weight, bias, stride, padding, output_padding, groups, dilation)
    return _conv(x, weight, bias, stride, padding, dilation, groups)


def _shifted(y: Laid, bias: Laid | None) -> Laid:
    return y if bias is None else elementwise(jnp.add, y, by_channel(bias, y.ndim))


def by_channel(x: Laid, rank: int) -> Laid:
    """An array of one number for each channel as it goes with maps."""
    for _ in range(rank - 2):
        x = unsqueeze(x, x.ndim)
    return x


def _max_pool(rank: int) -> Callable[..., Laid]:
    def run(
        x: Laid, window: Ints, stride: Ints = (), padding: Ints = 0, dilation: Ints = 1, ceil_mode: bool = False
    ) -> Laid:
        y = ops.max_pool(
            channels_last(x),
            _each(window, rank),
            stride=_each(stride, rank) or None,
            padding=_pairs(padding, rank),
            dilation=_each(dilation, rank),
            ceil_mode=ceil_mode,
        )
        return Laid(y, LAST[rank + 2])

    return _batched(run, rank)


def _avg_pool(rank: int) -> Callable[..., Laid]:
    def run(
        x: Laid,
        window: Ints,
        stride: Ints = (),
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Laid:
        size = _each(window, rank)
        if divisor_override is not None and (ceil_mode or not count_include_pad):
            raise InputError("average pooling with a divisor of its own is known with all of the padding counted only")
        y = ops.avg_pool(
            channels_last(x),
            size,
            stride=_each(stride, rank) or None,
            padding=_pairs(padding, rank),
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )
        if divisor_override is not None:
            for k in size:
                y = y * k
            y = y / divisor_override
        return Laid(y, LAST[rank + 2])

    return _batched(run, rank)


def _avg_pool_of_volumes(x: Laid, window: Ints, stride: Ints = (), padding: Ints = 0, *options: Any) -> Laid:
    """As PyTorch sums over channels in local response normalisation."""
    if options not in ((), (False,), (False, True)):
        raise InputError("average pooling of volumes is known without ceil mode, with all of the padding counted")
    size = _each(window, 3)
    steps = _each(stride, 3) or size
    # Over PyTorch's last three axes, wherever they lie.
    by_axis = {axis: (size[i], steps[i], _pairs(padding, 3)[i]) for i, axis in enumerate(range(x.ndim - 3, x.ndim))}
    windows, strides, pairs = zip(*(by_axis.get(axis, (1, 1, (0, 0))) for axis in x.axes), strict=True)
    total = lax.reduce_window(wide(x).array, 0.0, lax.add, windows, strides, pairs)
    return Laid(total / math.prod(size), x.axes)


def _adaptive(rank: int, f: Callable[..., Array]) -> Callable[..., Laid]:
    """The mean or the maximum of windows that divide the map as evenly as whole positions allow."""

    def run(x: Laid, size: Any) -> Laid:
        y = channels_last(wide(x))
        for axis, count in enumerate(_each(size, rank), start=1):
            n = y.shape[axis]
            count = n if count is None else count
            ends = [(i * n // count, -(-(i + 1) * n // count)) for i in range(count)]
            if n % count == 0:
                split = y.reshape(*y.shape[:axis], count, n // count, *y.shape[axis + 1 :])
                y = f(split, axis + 1)
            else:
                parts = [f(lax.slice_in_dim(y, *end, axis=axis), axis, keepdims=True) for end in ends]
                y = jnp.concatenate(parts, axis)
        return Laid(y, LAST[rank + 2]).to(x.dtype)

    return _batched(run, rank)


def _adaptive_max(rank: int) -> Callable[..., Any]:
    # The second result, where the maxima are, is read by nothing that is known here.
    return lambda x, size: (_adaptive(rank, jnp.max)(x, size), None)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    f"aten.{name}": f
    for name, f in {
        **{f"conv{n}d.{kind}": _batched(_conv, n) for n in (1, 2) for kind in ("default", "padding")},
        "conv_transpose1d.default": _batched(_conv_transpose, 1),
        "conv_transpose2d.input": _batched(_conv_transpose, 2),
        "convolution.default": _convolution,
        **{f"max_pool{n}d.default": _max_pool(n) for n in (1, 2)},
        **{f"avg_pool{n}d.default": _avg_pool(n) for n in (1, 2)},
        "avg_pool3d.default": _avg_pool_of_volumes,
        **{f"adaptive_avg_pool{n}d.default": _adaptive(n, jnp.mean) for n in (1, 2)},
        "_adaptive_avg_pool2d.default": _adaptive(2, jnp.mean),
        **{f"adaptive_max_pool{n}d.default": _adaptive_max(n) for n in (1, 2)},
    }.items()
}
