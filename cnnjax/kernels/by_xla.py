"""The same convolutions by XLA: as every platform has them, and as a CPU without kernels computes them fastest.

XLA's CPU backend runs grouped convolutions, and above all their weight gradients, outside its fast path. Milliseconds
of forward pass, input gradient and weight gradient on two Zen 4 cores, 3×3 windows:

| maps, groups                | XLA's own        | here            |
| --------------------------- | ---------------- | --------------- |
| 32×16×16×128, 2 groups      | 14, 9, 209       | 8, 8, 15        |
| 32×16×16×128, 32 groups     | 26, 22, 2480     | 12, 12, 6       |
| 64×32×32×64, depthwise      | 159, 151, 74     | 3.5, 1.9, 58    |
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cnnjax.kernels.geometry import Geometry, Pass

Forward = Callable[[Geometry, Array, Array], Array]


def by_xla(a: Array, b: Array, *, geometry: Geometry, which: Pass, mapped: tuple[bool, bool], forward: Forward) -> Array:
    """A pass by XLA, of `forward` or its transposes, over the copies of the operands that are mapped."""
    one = functools.partial(_one, geometry=geometry, which=which, forward=forward)
    if not any(mapped):
        return one(a, b)
    return jax.vmap(one, in_axes=tuple(0 if m else None for m in mapped))(a, b)


def _one(a: Array, b: Array, *, geometry: Geometry, which: Pass, forward: Forward) -> Array:
    if which == "forward":
        return forward(geometry, a, b)
    shape, f = {
        "input": ((a.shape[0], *geometry.maps), lambda x: forward(geometry, x, b)),
        "weights": (geometry.kernel, lambda kernel: forward(geometry, a, kernel)),
    }[which]
    cotangent = a if which == "input" else b
    (made,) = jax.linear_transpose(f, _like(cotangent, shape))(cotangent)
    return made


def _like(array: Array, shape: tuple[int, ...]) -> Any:
    """An operand of this shape and the array's dtype that varies over the mesh as the array does."""
    varies = getattr(jax.typeof(array), "vma", None)
    return jax.ShapeDtypeStruct(shape, array.dtype, **({"vma": varies} if varies else {}))


def plain(geometry: Geometry, x: Array, kernel: Array) -> Array:
    """The convolution as one operation of XLA's."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=geometry.stride,
        padding=geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=("NWC", "WIO", "NWC") if len(geometry.size) == 1 else ("NHWC", "HWIO", "NHWC"),
        feature_group_count=geometry.groups,
    )


def for_cpu(geometry: Geometry, x: Array, kernel: Array) -> Array:
    """The convolution as XLA's CPU backend computes it fastest."""
    unpadded = dataclasses.replace(geometry, size=_padded(geometry), padding=((0, 0),) * len(geometry.size))
    if geometry.groups > 1 and kernel.shape[-2] == 1:
        return _depthwise_by_shifts(unpadded, _pad(geometry, x), kernel)
    # Where the map grows, the gradient of the kernel takes 3 to 15 times as long unless the zeros exist.
    grows = geometry.stride == (1,) * len(geometry.size) and any(
        sum(pair) > d * (k - 1)
        for k, d, pair in zip(geometry.window, geometry.dilation, geometry.padding, strict=True)
    )
    if grows:
        geometry, x = unpadded, _pad(geometry, x)
    if geometry.groups == 1:
        return plain(geometry, x, kernel)
    one = dataclasses.replace(
        geometry,
        channels=geometry.channels // geometry.groups,
        features=geometry.features // geometry.groups,
        groups=1,
    )
    parts = zip(jnp.split(x, geometry.groups, axis=-1), jnp.split(kernel, geometry.groups, axis=-1), strict=True)
    return jnp.concatenate([plain(one, channels, weights) for channels, weights in parts], axis=-1)


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
