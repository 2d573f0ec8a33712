"""The passes of a convolution as functions of JAX arrays that call compiled kernels; for lowering on a CPU only."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from cnnjax.kernels.geometry import Geometry, Pass
from cnnjax.kernels.targets import target


def call(a: Array, b: Array, *, geometry: Geometry, which: Pass, mapped: tuple[bool, bool]) -> Array:
    """One pass by a kernel, over the copies of the operands that are mapped.

    The sums are of float32; narrower operands are widened and the result is rounded to their dtype.
    """
    dtype, flat = a.dtype, geometry.in_two_axes()
    shapes = {"forward": (flat.maps, flat.kernel), "input": (flat.made, flat.kernel), "weights": (flat.maps, flat.made)}
    maps = a.shape[mapped[0]]
    copies = max([x.shape[0] for x, m in zip((a, b), mapped, strict=True) if m], default=1)
    a, b = (
        x.astype(jnp.float32).reshape(copies if m else 1, *((maps,) if many else ()), *shape)
        for x, m, many, shape in zip((a, b), mapped, (True, which == "weights"), shapes[which], strict=True)
    )
    name, plan = target(flat, which)
    if which == "weights":
        made = [jax.ShapeDtypeStruct((copies, *more, *flat.kernel), jnp.float32) for more in ((), (plan.chunks(maps),))]
        result, _ = jax.ffi.ffi_call(name, made)(a, b)
        shape = geometry.kernel
    else:
        if not flat.depthwise:
            b = _arranged(b, flat, which, plan.w_size)
        here = flat.maps if which == "input" else flat.made
        made = jax.ShapeDtypeStruct((copies, maps, *here), jnp.float32)
        result = jax.ffi.ffi_call(name, made)(a, b)
        shape = (maps, *(geometry.maps if which == "input" else geometry.made))
    return result.reshape(*((copies,) if any(mapped) else ()), *shape).astype(dtype)


def _arranged(kernel: Array, geometry: Geometry, which: Pass, size: int) -> Array:
    """Weights (copies, window, in, features) as (copies, groups, window, read, made), with zeros up to this size."""
    groups, (copies, kh, kw, read, features) = geometry.groups, kernel.shape
    made = features // groups
    kernel = jnp.moveaxis(kernel.reshape(copies, kh, kw, read, groups, made), 4, 1)
    if which == "input":
        kernel, read, made = jnp.swapaxes(kernel, 4, 5), made, read
    padded = size // (groups * math.prod(geometry.window) * read)
    return jnp.pad(kernel, [(0, 0)] * 5 + [(0, padded - made)])
