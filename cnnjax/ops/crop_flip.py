"""Crops and mirror images: pixels copied, none computed."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Shaped

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.padding import Fill, per_axis, spatial_shape
from cnnjax.ops.resampling import PerAxis, pixels_per_axis, read_window


@checked()
def crop(
    x: Shaped[Array, "batch *space channels"],
    corner: ArrayLike | PerAxis,
    *,
    size: int | Sequence[int],
    fill: Fill = "zero",
) -> Shaped[Array, "batch *size channels"]:
    """Cut a window of `size` pixels out of each image, its first pixel at `corner`.

    `y[i] = x[corner + i]`, i below size. The window may reach outside the map, on any side: there x is as in `shift`,
    0 ("zero"), repeated ("circular") or mirrored ("reflect"); the corner is never moved. So a crop of a padded image
    needs no padding, and a crop of the map's own size is a shift by −corner.

    x is (batch, length, channels) or (batch, height, width, channels), of any dtype. corner, possibly traced, holds one
    integer per spatial axis, `(spatial,)` for the whole batch or `(batch, spatial)` for each image. size, static, is an
    int or one int per axis.

    Raises InputError for an unknown fill, a wrong shape, size or dtype.
    """
    size = per_axis(size, len(spatial_shape(x)), name="size")
    corner = pixels_per_axis(x, corner, name="corner")
    if not jnp.issubdtype(corner.dtype, jnp.integer):
        raise InputError(f"corner is {corner.dtype}; a crop starts at a whole pixel. Convert it to integers.")
    return read_window(x, corner.astype(jnp.int32), size, fill)


@checked()
def flip(
    x: Shaped[Array, "batch *space channels"], flipped: ArrayLike | Sequence[bool] = True, *, axis: str
) -> Shaped[Array, "batch *space channels"]:
    """Mirror each image along one of its axes, where `flipped` says so.

    `y[i] = x[n − 1 − i]` along `axis`: "width" swaps left and right (the horizontal flip), "height" top and bottom (the
    vertical flip), "length" the two ends of a signal.

    x is (batch, length, channels) or (batch, height, width, channels), of any dtype. flipped is a boolean for the whole
    batch or (batch,), possibly traced.

    Raises InputError for an axis that x does not have, a wrong shape or dtype.
    """
    axes = ("length",) if len(spatial_shape(x)) == 1 else ("height", "width")
    if axis not in axes:
        raise InputError(f"axis={axis!r} is not an axis of x of shape {x.shape}; use {' or '.join(map(repr, axes))}.")
    flipped = jnp.asarray(flipped)
    if flipped.shape not in ((), (x.shape[0],)) or flipped.dtype != bool:
        raise InputError(
            f"flipped is {flipped.dtype} of shape {flipped.shape}; "
            f"it must be one boolean or {(x.shape[0],)} booleans, one per image."
        )
    mirrored = jnp.flip(x, axis=1 + axes.index(axis))
    return jnp.where(flipped.reshape(-1, *(1,) * (x.ndim - 1)), mirrored, x)
