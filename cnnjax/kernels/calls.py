"""The passes of a convolution as functions of JAX arrays that call compiled kernels; for lowering on a CPU only."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from cnnjax.kernels.geometry import Geometry, Pass
from cnnjax.kernels.shares import called, shares
from cnnjax.kernels.targets import target


def call(a: Array, b: Array, *, geometry: Geometry, which: Pass, mapped: tuple[bool, bool], devices: int = 1) -> Array:
    """One pass by a kernel, over the copies of the operands that are mapped, which so many devices share.

    The sums are of float32; narrower operands are widened and the result is rounded to their dtype.
    """
    dtype, flat = a.dtype, geometry.in_two_axes()
    shapes = {"forward": (flat.maps, flat.kernel), "input": (flat.made, flat.kernel), "weights": (flat.maps, flat.made)}
    maps = a.shape[mapped[0]]
    copies = max([x.shape[0] for x, m in zip((a, b), mapped, strict=True) if m], default=1)
    parts = shares(maps, devices)
    here = maps // parts
    a, b = (
        _shared(x.astype(jnp.float32), shape, parts, here if many else None, copies if m else 1)
        for x, m, many, shape in zip((a, b), mapped, (True, which == "weights"), shapes[which], strict=True)
    )
    if devices > 1:
        # Axes that devices may split are equally long in both operands.
        a, b = (jnp.broadcast_to(x, (parts, copies, *x.shape[2:])) for x in (a, b))
    name, plan = target(flat, which)
    if which == "weights":
        sums = [(*more, *flat.kernel) for more in ((), (plan.chunks(here),))]
        made = [jax.ShapeDtypeStruct((parts, copies, *shape), jnp.float32) for shape in sums]
        result, _ = called(name, made, a, b, devices=devices)
        result, shape = result.sum(0) if parts > 1 else result, geometry.kernel
    else:
        if not flat.depthwise:
            b = _arranged(b, flat, which, plan.w_size)
        written = flat.maps if which == "input" else flat.made
        made = jax.ShapeDtypeStruct((parts, copies, here, *written), jnp.float32)
        (result,) = called(name, [made], a, b, devices=devices)
        result = jnp.swapaxes(result, 0, 1)
        shape = (maps, *(geometry.maps if which == "input" else geometry.made))
    return result.reshape(*((copies,) if any(mapped) else ()), *shape).astype(dtype)


def _shared(x: Array, shape: tuple[int, ...], parts: int, maps: int | None, copies: int) -> Array:
    """An operand as (shares, copies, maps, ...), or as (shares, copies, ...) weights that all shares have."""
    if maps is None:
        return jnp.broadcast_to(x.reshape(1, copies, *shape), (parts, copies, *shape))
    return jnp.swapaxes(x.reshape(copies, parts, maps, *shape), 0, 1)


def _arranged(kernel: Array, geometry: Geometry, which: Pass, size: int) -> Array:
    """Weights (..., window, in, features) as (..., groups, window, read, made), with zeros up to this size."""
    groups, (*lead, kh, kw, read, features) = geometry.groups, kernel.shape
    made = features // groups
    kernel = jnp.moveaxis(kernel.reshape(*lead, kh, kw, read, groups, made), -2, -5)
    if which == "input":
        kernel, read, made = jnp.swapaxes(kernel, -2, -1), made, read
    padded = size // (groups * math.prod(geometry.window) * read)
    return jnp.pad(kernel, [(0, 0)] * (kernel.ndim - 1) + [(0, padded - made)])
