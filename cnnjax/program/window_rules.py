"""How a signal goes back through one equation, window by window."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnnjax import ops
from cnnjax.ops.windows import Slide, at_place
from cnnjax.program.windows import Signal, Space, Units, cut, read_by


def hand_on(signal: Signal, at: Units, sign: int, dtype: Any) -> Signal:
    """Through a sum, a difference or a conversion."""
    values = signal.values.astype(dtype)
    return signal._replace(values=-values if sign < 0 else values)


def scale(signal: Signal, at: Units, factor: Array) -> Signal:
    """Through a product."""
    return signal._replace(values=signal.values * cut(factor, signal.axes, at).astype(signal.values.dtype))


def take(signal: Signal, at: Units, start: int, end: int) -> Signal:
    """To one of several arrays that were put side by side along the channels."""
    return signal._replace(values=signal.values[..., start:end])


def put(signal: Signal, at: Units, start: int, channels: int) -> Signal:
    """From some of the channels to all."""
    values = signal.values
    pads = [(0, 0)] * 3 + [(start, channels - start - values.shape[3])]
    return signal._replace(values=jnp.pad(values, pads))


def unpad(signal: Signal, at: Units, before: Space, first: int, channels: int) -> Signal:
    """To what was padded."""
    axes = [axis._replace(start=axis.start - p) for axis, p in zip(signal.axes, before, strict=True)]
    return Signal(signal.values[..., first : first + channels], (axes[0], axes[1]))


def unslice(signal: Signal, at: Units, begin: Space, strides: Space, first: int, channels: int) -> Signal:
    """To what every so many positions, and some channels, were taken of."""
    axes = [read_by(axis, 1, s, -b) for axis, s, b in zip(signal.axes, strides, begin, strict=True)]
    config = [(0, 0, 0), *((0, 0, s - 1) for s in strides), (0, 0, 0)]
    values = lax.pad(signal.values, jnp.zeros((), signal.values.dtype), config)
    return put(Signal(values, (axes[0], axes[1])), at, first, channels)


def conv(
    signal: Signal, at: Units, kernel: Array, strides: Space, before: Space, dilation: Space, groups: int
) -> Signal:
    """Through the kernel's transpose."""
    window = zip(signal.axes, kernel.shape[:2], strides, before, dilation, strict=True)
    axes = tuple(read_by(axis, d * (k - 1) + 1, s, p) for axis, k, s, p, d in window)
    values = signal.values
    if max(strides) > 1 and groups == 1 and dilation == (1, 1):
        return Signal(_strided(values, kernel, strides, (axes[0].size, axes[1].size)), (axes[0], axes[1]))
    size = (axes[0].size, axes[1].size)
    return Signal(_transposed(values, kernel, size, strides, dilation, groups), (axes[0], axes[1]))


def _transposed(
    values: Array, kernel: Array, size: Space, strides: Space, dilation: Space, groups: int
) -> Float[Array, "units height width channels"]:
    """The transpose of a convolution without a border, on maps of that size."""
    operand = jax.ShapeDtypeStruct((len(values), *size, kernel.shape[2] * groups), values.dtype)
    options: dict[str, Any] = dict(stride=strides, padding="valid", dilation=dilation, groups=groups)
    (back,) = jax.linear_transpose(lambda x: ops.conv(x, kernel, **options), operand)(values)
    return back


def _strided(values: Array, kernel: Array, strides: Space, size: Space) -> Array:
    """The transpose of a strided convolution as one of stride 1 that makes all phases of the positions at once.

    With x = s m + r and j = s q + r: `back[s m + r] = Σ_q signal[m − q] kernel[s q + r]`. Compilers scatter the signal
    among zeros instead, and multiply by these.
    """
    channels, features = kernel.shape[2:]
    taps = [-(-k // s) for k, s in zip(kernel.shape[:2], strides, strict=True)]
    pads = [(0, q * s - k) for q, s, k in zip(taps, strides, kernel.shape[:2], strict=True)]
    phases = jnp.pad(kernel, (*pads, (0, 0), (0, 0))).reshape(
        taps[0], strides[0], taps[1], strides[1], channels, features
    )
    phases = phases.transpose(0, 2, 1, 3, 4, 5).reshape(*taps, -1, features)
    height, width = (n + q - 1 for n, q in zip(values.shape[1:3], taps, strict=True))
    back = _transposed(values, phases, (height, width), (1, 1), (1, 1), 1)
    back = back.reshape(*back.shape[:3], *strides, channels).transpose(0, 1, 3, 2, 4, 5)
    shape = [n * s for n, s in zip(back.shape[1::2], strides, strict=False)]
    return back.reshape(len(values), *shape, channels)[:, : size[0], : size[1]]


def unpool(signal: Signal, at: Units, place: Array, axis: int, size: int, stride: int, before: int) -> Signal:
    """To the maximum of each window along one axis."""
    axes = list(signal.axes)
    axes[axis - 1] = read_by(axes[axis - 1], size, stride, before)
    chosen, values = cut(place, signal.axes, at), signal.values
    operand = jax.ShapeDtypeStruct((len(values), *(a.size for a in axes), values.shape[-1]), values.dtype)
    forward = lambda x: at_place(x, Slide(axis, size, stride), chosen)  # noqa: E731
    (back,) = jax.linear_transpose(forward, operand)(values)
    return Signal(back, (axes[0], axes[1]))
