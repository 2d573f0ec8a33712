"""The same convolutions by XLA: as every platform has them, and as a CPU without kernels computes them fastest.

XLA's CPU backend runs grouped convolutions, and above all their weight gradients, outside its fast path. Milliseconds
of forward pass, input gradient and weight gradient on two Zen 4 cores, 3×3 windows:

| maps, groups                | XLA's own        | here            |
| --------------------------- | ---------------- | --------------- |
| 32×16×16×128, 2 groups      | 14, 9, 209       | 8, 8, 15        |
| 32×16×16×128, 32 groups     | 26, 22, 2480     | 12, 12, 6       |
| 64×32×32×64, depthwise      | 159, 151, 74     | 3.5, 1.9, 58    |

A window of one tap is a product of matrices. On one core, 16×14×14×256 to 1024 features: 17, 19, 50 as a convolution,
16, 16, 23 here.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import NamedSharding, PartitionSpec

from cnnjax.kernels.geometry import Geometry, Pass


def plain(a: Array, b: Array, *, geometry: Geometry, which: Pass, mapped: tuple[bool, bool]) -> Array:
    """A pass as one operation of XLA's, over the copies of the operands that are mapped."""
    return _mapped(functools.partial(_PLAIN[which], geometry), a, b, mapped)


def for_cpu(a: Array, b: Array, *, geometry: Geometry, which: Pass, mapped: tuple[bool, bool]) -> Array:
    """A pass as XLA's CPU backend computes it fastest."""

    def one(a: Array, b: Array) -> Array:
        if which == "forward":
            return _forward_for_cpu(geometry, a, b)
        if which == "input":
            f, shape, cotangent = (lambda x: _forward_for_cpu(geometry, x, b)), (a.shape[0], *geometry.maps), a
        else:
            f, shape, cotangent = (lambda kernel: _forward_for_cpu(geometry, a, kernel)), geometry.kernel, b
        (made,) = jax.linear_transpose(f, jax.ShapeDtypeStruct(shape, a.dtype))(cotangent)
        return made

    return _mapped(one, a, b, mapped)


def _mapped(f: Callable[[Array, Array], Array], a: Array, b: Array, mapped: tuple[bool, bool]) -> Array:
    return jax.vmap(f, in_axes=tuple(0 if m else None for m in mapped))(a, b) if any(mapped) else f(a, b)


def _forward(geometry: Geometry, x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=geometry.stride,
        padding=geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=("NWC", "WIO", "NWC") if len(geometry.size) == 1 else ("NHWC", "HWIO", "NHWC"),
        feature_group_count=geometry.groups,
    )


def _input_gradient(geometry: Geometry, cotangent: Array, kernel: Array) -> Array:
    """The cotangent, spread out by the stride, with the flipped kernel whose channels are exchanged."""
    groups, features = geometry.groups, geometry.features // geometry.groups
    *window, channels, _ = kernel.shape
    kernel = jnp.flip(kernel, range(len(window))).reshape(*window, channels, groups, features)
    kernel = jnp.moveaxis(kernel, -1, -3)  # (*window, features, channels, groups)
    kernel = jnp.swapaxes(kernel, -1, -2).reshape(*window, features, geometry.channels)
    padding = []
    for n, o, k, s, d, (before, _) in _axes(geometry):
        low = d * (k - 1) - before
        padding.append((low, n - (o - 1) * s - 1 + d * (k - 1) - low))
    return lax.conv_general_dilated(
        cotangent,
        kernel,
        window_strides=(1,) * len(window),
        padding=padding,
        lhs_dilation=geometry.stride,
        rhs_dilation=geometry.dilation,
        dimension_numbers=("NWC", "WIO", "NWC") if len(window) == 1 else ("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _weight_gradient(geometry: Geometry, x: Array, cotangent: Array) -> Array:
    """The maps with the cotangents as their windows: maps count as channels, channels as maps."""
    padding = [(before, d * (k - 1) + (o - 1) * s + 1 - n - before) for n, o, k, s, d, (before, _) in _axes(geometry)]
    return lax.conv_general_dilated(
        x,
        cotangent,
        window_strides=geometry.dilation,
        padding=padding,
        rhs_dilation=geometry.stride,
        dimension_numbers=("CWN", "IWO", "WNC") if len(geometry.size) == 1 else ("CHWN", "IHWO", "HWNC"),
        batch_group_count=geometry.groups,
        out_sharding=_everywhere(x),
    )


def _everywhere(x: Array) -> NamedSharding | None:
    """The sharding of a sum over all maps, where that is part of an array's type: every device has it."""
    mesh = jax.typeof(x).sharding.mesh
    return NamedSharding(mesh, PartitionSpec()) if mesh.explicit_axes else None


_PLAIN: dict[Pass, Callable[[Geometry, Array, Array], Array]] = {
    "forward": _forward,
    "input": _input_gradient,
    "weights": _weight_gradient,
}


def _axes(geometry: Geometry) -> Iterator[tuple[int, int, int, int, int, tuple[int, int]]]:
    g = geometry
    return zip(g.size, g.out, g.window, g.stride, g.dilation, g.padding, strict=True)


def _forward_for_cpu(geometry: Geometry, x: Array, kernel: Array) -> Array:
    unpadded = dataclasses.replace(geometry, size=_padded(geometry), padding=((0, 0),) * len(geometry.size))
    if geometry.pointwise:
        strided = x[:, *(slice(None, None, s) for s in geometry.stride)]
        return lax.dot_general(strided, kernel.reshape(kernel.shape[-2:]), (((x.ndim - 1,), (0,)), ((), ())))
    if geometry.groups > 1 and kernel.shape[-2] == 1:
        return _depthwise_by_shifts(unpadded, _pad(geometry, x), kernel)
    # Where the map grows, the gradient of the kernel takes 3 to 15 times as long unless the zeros exist.
    grows = geometry.stride == (1,) * len(geometry.size) and any(
        sum(pair) > d * (k - 1) for k, d, pair in zip(geometry.window, geometry.dilation, geometry.padding, strict=True)
    )
    if grows:
        geometry, x = unpadded, _pad(geometry, x)
    if geometry.groups == 1:
        return _forward(geometry, x, kernel)
    one = dataclasses.replace(
        geometry,
        channels=geometry.channels // geometry.groups,
        features=geometry.features // geometry.groups,
        groups=1,
    )
    parts = zip(jnp.split(x, geometry.groups, axis=-1), jnp.split(kernel, geometry.groups, axis=-1), strict=True)
    return jnp.concatenate([_forward(one, channels, weights) for channels, weights in parts], axis=-1)


def _padded(geometry: Geometry) -> tuple[int, ...]:
    return tuple(n + sum(pair) for n, pair in zip(geometry.size, geometry.padding, strict=True))


def _pad(geometry: Geometry, x: Array) -> Array:
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pair, 0) for pair in geometry.padding), (0, 0, 0)])


def _depthwise_by_shifts(geometry: Geometry, x: Array, kernel: Array) -> Array:
    """Convolve each channel with its own windows, as a sum, in float32 at least, of shifted maps times one weight each.

    Output channel o reads input channel `o // (features / channels)`.
    """
    wide = np.promote_types(x.dtype, np.float32)
    maps, weights = x.astype(wide), kernel.astype(wide)
    if (copies := geometry.features // geometry.channels) > 1:
        maps = jnp.repeat(maps, copies, axis=-1)
    total = jnp.zeros((x.shape[0], *geometry.made), wide)
    for place in itertools.product(*map(range, geometry.window)):
        reads = (
            slice(d * j, d * j + (n - 1) * s + 1, s)
            for j, n, s, d in zip(place, geometry.out, geometry.stride, geometry.dilation, strict=True)
        )
        weight = weights[*place].reshape((1,) * (1 + len(geometry.size)) + (geometry.features,))
        total = total + maps[:, *reads] * weight
    return total.astype(x.dtype)
