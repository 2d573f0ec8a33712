"""The passes of a convolution as functions of JAX arrays that call compiled kernels; for lowering on a CPU only."""

import math
import os

import jax
import jax.numpy as jnp
from jax import Array, lax

from cnnjax.kernels.choice import by_tiles
from cnnjax.kernels.geometry import Geometry, Pass
from cnnjax.kernels.shares import called, shares
from cnnjax.kernels.targets import target
from cnnjax.kernels.tiles import WEIGHTS


def call(
    a: Array,
    b: Array,
    *,
    geometry: Geometry,
    which: Pass,
    mapped: tuple[bool, bool],
    devices: int = 1,
    tiled: bool | None = None,
) -> Array:
    """One pass by a kernel, over the copies of the operands that are mapped, which so many devices share.

    The sums are of float32; narrower operands are widened and the result is rounded to their dtype. `tiled` is by
    Winograd's tiles; None chooses what is faster.
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
    tiled = by_tiles(flat, which, maps=here) if tiled is None else tiled
    name, plan = target(flat, which, tiled=tiled)
    if which == "weights":
        sums = [(*more, *flat.kernel) for more in ((), (plan.chunks(here),))]
        made = [jax.ShapeDtypeStruct((parts, copies, *shape), jnp.float32) for shape in sums]
        result, _ = called(name, made, a, b, devices=devices)
        result, shape = result.sum(0) if parts > 1 else result, geometry.kernel
    else:
        if tiled:
            b = _transformed(b, which, plan.w_size)
        elif not flat.depthwise:
            b = _arranged(b, flat, which, plan.w_size)
        written = flat.maps if which == "input" else flat.made
        made = [jax.ShapeDtypeStruct((parts, copies, here, *written), jnp.float32)]
        if plan.scratch:
            # Memory for the threads of each device, which has so many of the shares and copies.
            lead = (parts, copies) if devices > 1 else (1, 1)
            own, chunks = math.prod(lead) // devices, parts * copies // devices * plan.chunks(here)
            workers = max(1, math.ceil(min(chunks, os.cpu_count() or 1) / own))
            made.append(jax.ShapeDtypeStruct((*lead, workers, plan.scratch), jnp.float32))
        result, *_ = called(name, made, a, b, devices=devices)
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


def _transformed(kernel: Array, which: Pass, size: int) -> Array:
    """Weights (..., 3, 3, in, features) as (..., 16 + 9, read, made), with zeros up to this size."""
    if which == "input":
        # Once, before all that reads it several times.
        kernel = lax.optimization_barrier(jnp.swapaxes(jnp.flip(kernel, (-4, -3)), -2, -1))
    *lead, _, _, read, made = kernel.shape
    kernel = jnp.pad(kernel, [(0, 0)] * (kernel.ndim - 1) + [(0, size // (WEIGHTS * read) - made)])
    places = _spread_window(_spread_window(kernel, -4), -3)
    return jnp.concatenate([part.reshape(*lead, -1, *kernel.shape[-2:]) for part in (places, kernel)], axis=-3)


def _spread_window(kernel: Array, axis: int) -> Array:
    """Winograd's G g along one axis of the window: three numbers become four."""
    first, middle, last = jnp.moveaxis(kernel, axis, 0)
    ends = first + last
    return jnp.stack([first, (ends + middle) / 2, (ends - middle) / 2, last], axis)
