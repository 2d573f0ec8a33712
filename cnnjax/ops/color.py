"""Colours: what is left of a picture without them."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cnnjax.door import checked
from cnnjax.door.arrays import check
from cnnjax.errors import InputError

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601, as Pillow's mode L)."""


@checked()
def grayscale(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch height width channels"]:
    """Give every channel the luma of its pixel: `y_c = 0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601).

    x is (batch, height, width, 3), floating point, worked in float32 at least; of one channel it stays as it is. Raises
    InputError for another number of channels and another dtype, in which the weights would be 0.
    """
    check("x", x, Float[Array, "batch height width channels"])
    if x.shape[-1] == 1:
        return x
    if x.shape[-1] != 3:
        raise InputError(f"x has {x.shape[-1]} channels; luma is that of red, green and blue: give 3, or 1 of grey.")
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    luma = jnp.matmul(wide, np.asarray(LUMA, wide.dtype)[:, None], precision=lax.Precision.HIGHEST)
    return jnp.broadcast_to(luma.astype(x.dtype), x.shape)
