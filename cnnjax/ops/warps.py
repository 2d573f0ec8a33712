"""Warps: the same picture moved by whole pixels, by fractions of one, or turned."""

from collections.abc import Sequence
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Num, Shaped

from cnnjax.errors import InputError
from cnnjax.ops.padding import spatial_shape

Offsets: TypeAlias = Sequence[int | float] | Sequence[Sequence[int | float]]
FILLS = ("zero", "circular", "reflect")

# Measured with 32×32×1 images, per core and second. Shift: a gather along each axis 2 million, slices of a padded map
# as many, jnp.roll 0.4, one-hot products 0.1. Rotate: four gathers 0.44 million, from a zero-padded map 0.2, one gather
# of four stacked neighbours 0.1. XLA fuses x into every gather: shift(rotate(x)) is three times as fast as the reverse.


def shift(
    x: Shaped[Array, "batch *space channels"], offset: ArrayLike | Offsets, *, mode: str = "zero"
) -> Shaped[Array, "batch *space channels"]:
    """Move the content of each image by `offset` pixels, down and to the right.

    `y[i] = x[i − offset]`. Outside the map x is 0 ("zero"), repeats (`x[i mod n]`, "circular") or is mirrored about the
    border pixel ("reflect"). "fourier" is the circular shift by any real offset, through the phase theorem:
    `Y[k] = exp(−2πi k · offset / n) X[k]`, but `cos(π · offset)` at the Nyquist frequency of an even n: y is real.

    x is (batch, length, channels) or (batch, height, width, channels), of any dtype, floating point for "fourier".
    offset, possibly traced, holds one number of pixels per spatial axis, `(spatial,)` for the whole batch or
    `(batch, spatial)` for each image; integers, save for "fourier", which is differentiable in it.

    Raises InputError for an unknown mode, a wrong shape or dtype.
    """
    space = spatial_shape(x)
    offset = jnp.asarray(offset)
    if offset.shape not in ((len(space),), (x.shape[0], len(space))):
        raise InputError(
            f"offset has shape {offset.shape}; x of shape {x.shape} needs {(len(space),)} for the whole batch or "
            f"{(x.shape[0], len(space))} for each image: one number of pixels per spatial axis."
        )
    offset = jnp.atleast_2d(offset)
    if mode == "fourier":
        return _fourier_shift(x, offset)
    _check_mode(mode, (*FILLS, "fourier"))
    if not jnp.issubdtype(offset.dtype, jnp.integer):
        raise InputError(
            f"offset is {offset.dtype}, but mode={mode!r} moves by whole pixels; "
            "convert it to integers, or use mode='fourier' for fractions of a pixel."
        )
    for axis, n in enumerate(space):
        position = jnp.arange(n, dtype=jnp.int32)[None] - offset[:, axis, None].astype(jnp.int32)
        index, inside = _source(position, n, mode)
        along_axis = (-1, *(n if a == axis else 1 for a in range(len(space))), 1)
        moved = jnp.take_along_axis(x, index.reshape(along_axis), axis=axis + 1, mode="promise_in_bounds")
        x = jnp.where(inside.reshape(along_axis), moved, jnp.zeros((), x.dtype)) if mode == "zero" else moved
    return x


def rotate(
    x: Num[Array, "batch *space channels"], degrees: ArrayLike, *, mode: str = "zero", order: int = 1
) -> Num[Array, "batch *space channels"]:
    """Turn each image about its centre, counter-clockwise as `numpy.rot90` does.

    `y[p] = x[R p]` with p = (row, column) from the centre `(n − 1) / 2` and `R = [[cos, sin], [−sin, cos]]`. Between
    pixels x is interpolated linearly along both axes (order 1) or is that of the nearest pixel (order 0); outside the
    map it is as in `shift`. Quarter turns of square images move the pixels exactly, also when degrees is traced.

    x is (batch, height, width, channels), finite, floating point for order 1. degrees is a scalar for the whole batch
    or (batch,), possibly traced; with order 1 the result is differentiable in it.

    Raises InputError for an unknown mode or order, a wrong shape or dtype.
    """
    if len(spatial_shape(x)) != 2:
        raise InputError(f"x has shape {x.shape}; rotate needs images (batch, height, width, channels).")
    _check_mode(mode, FILLS)
    if order not in (0, 1):
        raise InputError(f"order={order!r} is unknown; use 0 (nearest pixel) or 1 (bilinear).")
    if order == 1 and not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x is {x.dtype}; bilinear rotation needs floating point. Convert it, or use order=0.")
    wide = np.promote_types(x.dtype, np.float32) if order == 1 else jnp.float32
    degrees = jnp.asarray(degrees).astype(wide)
    if degrees.shape not in ((), (x.shape[0],)):
        raise InputError(f"degrees has shape {degrees.shape}; it must be a scalar or {(x.shape[0],)}, one per image.")

    batch, height, width, channels = x.shape
    # An angle for each image even where one is shared: the derivative of the gathers is then twice as fast.
    row, column = _rotated_grid(jnp.broadcast_to(degrees.reshape(-1, 1), (batch, 1)), height, width)
    pixels = x.reshape(batch, height * width, channels)
    result = jnp.zeros((), wide if order == 1 else x.dtype)
    for row_index, row_weight in _neighbours(row, height, mode, order):
        for column_index, column_weight in _neighbours(column, width, mode, order):
            index = (row_index * width + column_index)[..., None]
            weight = (row_weight * column_weight)[..., None].astype(result.dtype)
            value = jnp.take_along_axis(pixels, index, axis=1, mode="promise_in_bounds").astype(result.dtype)
            result = result + weight * value
    return result.astype(x.dtype).reshape(x.shape)


def _check_mode(mode: str, known: tuple[str, ...]) -> None:
    if mode not in known:
        raise InputError(f"mode={mode!r} is unknown; use one of {', '.join(known)}.")


def _source(
    position: Int[Array, "images points"], n: int, mode: str
) -> tuple[Int[Array, "images points"], Bool[Array, "images points"]]:
    """The index a position is read from, and whether it has content there."""
    everywhere = jnp.ones_like(position, dtype=bool)
    match mode:
        case "zero":
            return jnp.clip(position, 0, n - 1), (position >= 0) & (position < n)
        case "circular":
            return position % n, everywhere
        case _:
            period = max(2 * (n - 1), 1)
            return jnp.minimum(position % period, period - position % period), everywhere


def _rotated_grid(
    degrees: Float[Array, "images 1"], height: int, width: int
) -> tuple[Float[Array, "images points"], Float[Array, "images points"]]:
    """Row and column that each pixel of the result is read at, pixels in row-major order."""
    # cos and sin of the rest of at most 45° are exactly 1 and 0 at quarter turns, which then only swap them.
    quarters = jnp.round(degrees / 90)
    rest = (degrees - 90 * quarters) * (np.pi / 180)
    turns = quarters.astype(jnp.int32) % 4
    sign = jnp.where(turns < 2, 1, -1).astype(degrees.dtype)
    cos = sign * jnp.where(turns % 2 == 0, jnp.cos(rest), -jnp.sin(rest))
    sin = sign * jnp.where(turns % 2 == 0, jnp.sin(rest), jnp.cos(rest))
    centre_row, centre_column = (height - 1) / 2, (width - 1) / 2
    u, v = np.meshgrid(np.arange(height) - centre_row, np.arange(width) - centre_column, indexing="ij")
    u, v = (jnp.asarray(a.reshape(1, -1), degrees.dtype) for a in (u, v))
    return cos * u + sin * v + centre_row, cos * v - sin * u + centre_column


def _neighbours(
    position: Float[Array, "images points"], n: int, mode: str, order: int
) -> list[tuple[Int[Array, "images points"], Float[Array, "images points"]]]:
    """The pixels next to a real position along one axis, each with its weight in the interpolation."""
    if order == 0:
        index, inside = _source(jnp.floor(position + 0.5).astype(jnp.int32), n, mode)
        return [(index, inside.astype(position.dtype))]
    below = jnp.floor(position)
    fraction = position - below
    neighbours = []
    for step, weight in ((0, 1 - fraction), (1, fraction)):
        index, inside = _source(below.astype(jnp.int32) + step, n, mode)
        neighbours.append((index, jnp.where(inside, weight, jnp.zeros((), weight.dtype))))
    return neighbours


def _fourier_shift(x: Array, offset: Num[Array, "images spatial"]) -> Array:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x is {x.dtype}; mode='fourier' needs floating point. Convert it, or use mode='circular'.")
    wide = np.promote_types(x.dtype, np.float32)
    space, axes = x.shape[1:-1], tuple(range(1, x.ndim - 1))
    spectrum = jnp.fft.rfftn(x.astype(wide), axes=axes)
    for axis, n in zip(axes, space, strict=True):
        frequency = np.fft.rfftfreq(n) if axis == axes[-1] else np.fft.fftfreq(n)
        cycles = offset[:, axis - 1, None].astype(wide) * jnp.asarray(frequency, wide)[None]
        # Whole cycles change nothing but the rounding of the sine.
        angle = -2 * np.pi * (cycles - jnp.round(cycles))
        sine = jnp.where(np.abs(frequency) == 0.5, jnp.zeros((), wide), jnp.sin(angle))
        phase = lax.complex(jnp.cos(angle), sine)
        spectrum = spectrum * phase.reshape(-1, *(frequency.size if a == axis else 1 for a in axes), 1)
    return jnp.fft.irfftn(spectrum, s=space, axes=axes).astype(x.dtype)
