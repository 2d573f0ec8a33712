"""Warps about the centre: the same picture turned or zoomed."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.padding import Fill
from cnnjax.ops.resampling import position_dtype, resample


@checked()
def rotate(
    x: Num[Array, "batch *space channels"], degrees: ArrayLike, *, fill: Fill = "zero", order: int = 1
) -> Num[Array, "batch *space channels"]:
    """Turn each image about its centre, counter-clockwise as `numpy.rot90` does.

    `y[p] = x[R p]` with p = (row, column) from the centre `(n − 1) / 2` and `R = [[cos, sin], [−sin, cos]]`. Between
    pixels x is that of the nearest one (order 0), or interpolated along both axes, linearly (order 1) or by Keys' cubic
    convolution with a = −1/2 (order 3), which may overshoot the range of x; outside the map it is as in `shift`.
    Quarter turns of square images move the pixels exactly, also when degrees is traced.

    x is (batch, height, width, channels), finite, floating point for orders 1 and 3. degrees is a scalar for the whole
    batch or (batch,), possibly traced; with orders 1 and 3 the result is differentiable in it.

    Raises InputError for an unknown fill or order, a wrong shape or dtype.
    Source of the cubic: Keys, Cubic convolution interpolation for digital image processing, 1981, equation 15.
    """
    dtype = position_dtype(x, order=order)
    # cos and sin of the rest of at most 45° are exactly 1 and 0 at quarter turns, which then only swap them.
    degrees = _one_per_image(x, degrees, dtype, name="degrees")
    quarters = jnp.round(degrees / 90)
    rest = (degrees - 90 * quarters) * (np.pi / 180)
    turns = quarters.astype(jnp.int32) % 4
    sign = jnp.where(turns < 2, 1, -1).astype(dtype)
    cos = sign * jnp.where(turns % 2 == 0, jnp.cos(rest), -jnp.sin(rest))
    sin = sign * jnp.where(turns % 2 == 0, jnp.sin(rest), jnp.cos(rest))
    u, v, row_centre, column_centre = _about_centre(x, dtype)
    row, column = cos * u + sin * v + row_centre, cos * v - sin * u + column_centre
    return resample(x, row, column, fill=fill, order=order).reshape(x.shape)


@checked()
def scale(
    x: Num[Array, "batch *space channels"], factor: ArrayLike, *, fill: Fill = "zero", order: int = 1
) -> Num[Array, "batch *space channels"]:
    """Zoom each image about its centre; a factor above 1 enlarges what it shows, and the map keeps its size.

    `y[p] = x[p / factor]` with p = (row, column) from the centre `(n − 1) / 2`. Interpolation and what lies outside the
    map are as in `rotate`. x is sampled, not averaged: a factor below 1 aliases what the smaller picture cannot hold.

    x is (batch, height, width, channels), finite, floating point for orders 1 and 3. factor > 0 is a scalar for the
    whole batch or (batch,), possibly traced; with orders 1 and 3 the result is differentiable in it.

    Raises InputError for an unknown fill or order, a wrong shape or dtype, or a factor of the host that is not positive
    (one that is traced or on a device is not looked at).
    """
    dtype = position_dtype(x, order=order)
    if not isinstance(factor, jax.Array) and not np.all(np.asarray(factor) > 0):
        raise InputError(f"factor={factor!r} must be positive: above 1 enlarges, below 1 shrinks.")
    factor = _one_per_image(x, factor, dtype, name="factor")
    u, v, row_centre, column_centre = _about_centre(x, dtype)
    return resample(x, u / factor + row_centre, v / factor + column_centre, fill=fill, order=order).reshape(x.shape)


def _one_per_image(x: Array, value: ArrayLike, dtype: np.dtype, *, name: str) -> Float[Array, "batch 1"]:
    value = jnp.asarray(value).astype(dtype)
    if value.shape not in ((), (x.shape[0],)):
        raise InputError(f"{name} has shape {value.shape}; it must be a scalar or {(x.shape[0],)}, one per image.")
    # One for each image even where one is shared: the derivative of the gathers is then twice as fast.
    return jnp.broadcast_to(value.reshape(-1, 1), (x.shape[0], 1))


def _about_centre(x: Array, dtype: np.dtype) -> tuple[Float[Array, "1 points"], Float[Array, "1 points"], float, float]:
    """Rows and columns of all pixels, in row-major order, from the centre; and the centre."""
    height, width = x.shape[1:3]
    row_centre, column_centre = (height - 1) / 2, (width - 1) / 2
    u, v = np.meshgrid(np.arange(height) - row_centre, np.arange(width) - column_centre, indexing="ij")
    return jnp.asarray(u.reshape(1, -1), dtype), jnp.asarray(v.reshape(1, -1), dtype), row_centre, column_centre
