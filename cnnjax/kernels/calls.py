"""The passes of a convolution as functions of JAX arrays that call compiled kernels; for lowering on a CPU only."""

import math
import os

import jax
import jax.numpy as jnp
from jax import Array, lax

from cnnjax.kernels import machine_code
from cnnjax.kernels.choice import by_tiles
from cnnjax.kernels.gather import weight_layout
from cnnjax.kernels.geometry import Geometry, Pass
from cnnjax.kernels.shares import called, shares
from cnnjax.kernels.targets import target
from cnnjax.kernels.tiles import PLACES, layout, tiles_of


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
    else:
        if tiled:
            b = _transformed(b, flat, which)
        elif not flat.depthwise:
            b = _arranged(b, flat, which)
        written = flat.maps if which == "input" else flat.made
        made = [jax.ShapeDtypeStruct((parts, copies, here, *written), jnp.float32)]
    if plan.scratch:
        # Memory for the threads of each device, which has so many of the shares and copies.
        lead = (parts, copies) if devices > 1 else (1, 1)
        own, chunks = math.prod(lead) // devices, parts * copies // devices * plan.chunks(here)
        workers = max(1, math.ceil(min(chunks, os.cpu_count() or 1) / own))
        made.append(jax.ShapeDtypeStruct((*lead, workers, plan.scratch), jnp.float32))
    result, *_ = called(name, made, a, b, devices=devices)
    if which == "weights":
        result, shape = result.sum(0) if parts > 1 else result, geometry.kernel
    else:
        result = jnp.swapaxes(result, 0, 1)
        shape = (maps, *(geometry.maps if which == "input" else geometry.made))
    return result.reshape(*((copies,) if any(mapped) else ()), *shape).astype(dtype)


def _shared(x: Array, shape: tuple[int, ...], parts: int, maps: int | None, copies: int) -> Array:
    """An operand as (shares, copies, maps, ...), or as (shares, copies, ...) weights that all shares have."""
    if maps is None:
        return jnp.broadcast_to(x.reshape(1, copies, *shape), (parts, copies, *shape))
    return jnp.swapaxes(x.reshape(copies, parts, maps, *shape), 0, 1)


def _arranged(kernel: Array, geometry: Geometry, which: Pass) -> Array:
    """Weights (..., window, in, features) as `gather` reads them, in one axis."""
    layout = weight_layout(geometry, machine_code.processor(), gradient=which == "input")
    groups, (*lead, kh, kw, read, features) = geometry.groups, kernel.shape
    made = features // groups
    kernel = jnp.moveaxis(kernel.reshape(*lead, kh, kw, read, groups, made), -2, -5)
    if which == "input":
        kernel, read, made = jnp.swapaxes(kernel, -2, -1), made, read
    return _packed(kernel.reshape(*lead, groups, kh * kw * read, made), layout.padded, layout.width)


def _transformed(kernel: Array, geometry: Geometry, which: Pass) -> Array:
    """Weights (..., 3, 3, in, features) as `winograd` reads them, in one axis."""
    gradient = which == "input"
    it = layout(tiles_of(geometry, gradient=gradient), machine_code.processor())
    if gradient:
        # Once, before all that reads it several times.
        kernel = lax.optimization_barrier(jnp.swapaxes(jnp.flip(kernel, (-4, -3)), -2, -1))
    *lead, _, _, read, made = kernel.shape
    places = _spread_window(_spread_window(kernel, -4), -3).reshape(*lead, PLACES, read, made)
    window = _filled_up(kernel, it.made).reshape(*lead, -1)
    return jnp.concatenate([_packed(places, it.made, it.width), window], -1)


def _packed(matrices: Array, size: int, width: int) -> Array:
    """Matrices (..., n, read, made) in one axis, each as (size / width, read, width), with zeros up to this size."""
    *lead, n, read, _ = matrices.shape
    matrices = _filled_up(matrices, size)
    whole = size // width
    parts = [jnp.swapaxes(matrices[..., : whole * width].reshape(*lead, n, read, whole, width), -3, -2)]
    if size > whole * width:
        parts.append(matrices[..., whole * width :])
    return jnp.concatenate([part.reshape(*lead, n, -1) for part in parts], -1).reshape(*lead, -1)


def _filled_up(x: Array, size: int) -> Array:
    """The same with zeros up to this size of its last axis."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, size - x.shape[-1])])


def _spread_window(kernel: Array, axis: int) -> Array:
    """Winograd's G g along one axis of the window: three numbers become four."""
    first, middle, last = jnp.moveaxis(kernel, axis, 0)
    ends = first + last
    return jnp.stack([first, (ends + middle) / 2, (ends - middle) / 2, last], axis)
