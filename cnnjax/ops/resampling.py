"""Resampling: reading a picture at given positions, whole ones or real ones. Every warp is a choice of positions."""

from collections.abc import Sequence
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Num, Shaped

from cnnjax.errors import InputError
from cnnjax.ops.padding import Fill, spatial_shape

PerAxis: TypeAlias = Sequence[int | float] | Sequence[Sequence[int | float]]
"""A number per spatial axis, or such a sequence for each image."""

ORDERS = {0: "nearest pixel", 1: "bilinear", 3: "bicubic"}


def pixels_per_axis(
    x: Shaped[Array, "batch *space channels"], value: ArrayLike | PerAxis, *, name: str
) -> Num[Array, "images spatial"]:
    """A number of pixels per spatial axis, of all images or of each; raises InputError naming `name` otherwise."""
    space = spatial_shape(x)
    value = jnp.asarray(value)
    if value.shape not in ((len(space),), (x.shape[0], len(space))):
        raise InputError(
            f"{name} has shape {value.shape}; x of shape {x.shape} needs {(len(space),)} for the whole batch or "
            f"{(x.shape[0], len(space))} for each image: one number of pixels per spatial axis."
        )
    return jnp.atleast_2d(value)


def read_window(
    x: Shaped[Array, "batch *space channels"], first: Int[Array, "images spatial"], size: tuple[int, ...], fill: Fill
) -> Shaped[Array, "batch *size channels"]:
    """Read `y[i] = x[first + i]`, i below `size`, one `first` for each image or for all; `fill` is outside."""
    for axis, (n, length) in enumerate(zip(spatial_shape(x), size, strict=True)):
        position = first[:, axis, None] + jnp.arange(length, dtype=jnp.int32)[None]
        index, inside = source(position, n, fill)
        along_axis = (-1, *(length if a == axis else 1 for a in range(len(size))), 1)
        read = jnp.take_along_axis(x, index.reshape(along_axis), axis=axis + 1, mode="promise_in_bounds")
        x = jnp.where(inside.reshape(along_axis), read, jnp.zeros((), x.dtype)) if fill == "zero" else read
    return x


# Measured with 32×32×1 images, per core and second: four gathers 0.44 million, from a zero-padded map 0.2, one gather
# of four stacked neighbours 0.1; the sixteen of the cubic 0.12.
def resample(
    x: Num[Array, "batch height width channels"],
    row: Float[Array, "batch points"],
    column: Float[Array, "batch points"],
    *,
    fill: Fill,
    order: int,
) -> Num[Array, "batch points channels"]:
    """Read each image at real positions: `y[p] = Σ_{i, j} w(row_p − i) w(column_p − j) x[i, j]`.

    w is 1 within half a pixel (order 0), the triangle (order 1) or Keys' cubic (order 3). The sum is taken in the dtype
    of the positions, save for order 0, which copies; the result has x's dtype.
    """
    batch, height, width, channels = x.shape
    pixels = x.reshape(batch, height * width, channels)
    result = jnp.zeros((), x.dtype if order == 0 else row.dtype)
    for row_index, row_weight in _neighbours(row, height, fill, order):
        for column_index, column_weight in _neighbours(column, width, fill, order):
            index = (row_index * width + column_index)[..., None]
            weight = (row_weight * column_weight)[..., None].astype(result.dtype)
            value = jnp.take_along_axis(pixels, index, axis=1, mode="promise_in_bounds").astype(result.dtype)
            result = result + weight * value
    return result.astype(x.dtype)


def position_dtype(x: Shaped[Array, "*shape"], *, order: int) -> np.dtype:
    """The dtype for positions to resample `x` at; raises InputError for a rank, order or dtype that cannot be."""
    if len(spatial_shape(x)) != 2:
        raise InputError(f"x has shape {x.shape}; this warp needs images (batch, height, width, channels).")
    if order not in ORDERS:
        known = [f"{number} ({name})" for number, name in ORDERS.items()]
        raise InputError(f"order={order!r} is unknown; use {', '.join(known[:-1])} or {known[-1]}.")
    if order == 0:
        return np.dtype(np.float32)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(
            f"x is {x.dtype}; {ORDERS[order]} resampling needs floating point. Convert it, or use order=0."
        )
    return np.promote_types(x.dtype, np.float32)


def source(
    position: Int[Array, "images points"], n: int, fill: Fill
) -> tuple[Int[Array, "images points"], Bool[Array, "images points"]]:
    """The index a position is read from, and whether it has content there."""
    everywhere = jnp.ones_like(position, dtype=bool)
    match fill:
        case "zero":
            return jnp.clip(position, 0, n - 1), (position >= 0) & (position < n)
        case "circular":
            return position % n, everywhere
        case _:
            period = max(2 * (n - 1), 1)
            return jnp.minimum(position % period, period - position % period), everywhere


def _neighbours(
    position: Float[Array, "batch points"], n: int, fill: Fill, order: int
) -> list[tuple[Int[Array, "batch points"], Float[Array, "batch points"]]]:
    """The pixels next to a real position along one axis, each with its weight in the interpolation."""
    if order == 0:
        index, inside = source(jnp.floor(position + 0.5).astype(jnp.int32), n, fill)
        return [(index, inside.astype(position.dtype))]
    below = jnp.floor(position)
    fraction = position - below
    weights = {0: 1 - fraction, 1: fraction} if order == 1 else _cubic(fraction)
    neighbours = []
    for step, weight in weights.items():
        index, inside = source(below.astype(jnp.int32) + step, n, fill)
        neighbours.append((index, jnp.where(inside, weight, jnp.zeros((), weight.dtype))))
    return neighbours


def _cubic(t: Float[Array, "batch points"]) -> dict[int, Float[Array, "batch points"]]:
    """Keys' cubic convolution (1981, equation 15), a = −1/2: the weights of the pixels −1, 0, 1, 2 from the one below.

    `(3 |u|³ − 5 u² + 2) / 2` at a distance |u| up to 1, `(−|u|³ + 5 u² − 8 |u| + 4) / 2` up to 2. At t = 0 they are
    0, 1, 0, 0 to the last bit.
    """
    s = 1 - t
    near, far = lambda u: 1 + u * u * (1.5 * u - 2.5), lambda u: -0.5 * u * (1 - u) * (1 - u)
    return {-1: far(t), 0: near(t), 1: near(s), 2: far(s)}
