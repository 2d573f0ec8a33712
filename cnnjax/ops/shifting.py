"""Shifts: the same picture moved by whole pixels, or by any fraction of one through the Fourier phase."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Num, Shaped

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.padding import Fill, spatial_shape
from cnnjax.ops.resampling import PerAxis, pixels_per_axis, read_window

# Measured with 32×32×1 images, per core and second: a gather along each axis 2 million, slices of a padded map as many,
# jnp.roll 0.4, one-hot products 0.1. XLA fuses x into every gather: shift(rotate(x)) is three times as fast as the
# reverse.


@checked()
def shift(
    x: Shaped[Array, "batch *space channels"], offset: ArrayLike | PerAxis, *, fill: Fill = "zero"
) -> Shaped[Array, "batch *space channels"]:
    """Move the content of each image by `offset` pixels, down and to the right.

    `y[i] = x[i − offset]`. Outside the map x is 0 ("zero"), repeats (`x[i mod n]`, "circular") or is mirrored about the
    border pixel ("reflect").

    x is (batch, length, channels) or (batch, height, width, channels), of any dtype. offset, possibly traced, holds one
    integer per spatial axis, `(spatial,)` for the whole batch or `(batch, spatial)` for each image.

    Raises InputError for an unknown fill, a wrong shape or dtype.
    """
    offset = pixels_per_axis(x, offset, name="offset")
    if not jnp.issubdtype(offset.dtype, jnp.integer):
        raise InputError(
            f"offset is {offset.dtype}, but shift moves by whole pixels; convert it to integers, or use fourier_shift "
            "for fractions of a pixel."
        )
    return read_window(x, -offset.astype(jnp.int32), spatial_shape(x), fill)


@checked()
def fourier_shift(
    x: Num[Array, "batch *space channels"], offset: ArrayLike | PerAxis
) -> Num[Array, "batch *space channels"]:
    """Move the content of each image by any real `offset`, circularly, by the phase theorem.

    `Y[k] = exp(−2πi k · offset / n) X[k]`, but `cos(π · offset)` at the Nyquist frequency of an even n, for y is real:
    there, and only there, two shifts in turn are not the shift by their sum.

    x is (batch, length, channels) or (batch, height, width, channels), floating point. offset, possibly traced, holds
    one number of pixels per spatial axis, `(spatial,)` for the whole batch or `(batch, spatial)` for each image; the
    result is differentiable in it.

    Raises InputError for a wrong shape or dtype.
    """
    offset = pixels_per_axis(x, offset, name="offset")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x is {x.dtype}; fourier_shift needs floating point. Convert it, or use shift.")
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
