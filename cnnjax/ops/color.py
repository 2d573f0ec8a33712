"""Colours: what is left of a picture without them."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnnjax.door import checked
from cnnjax.errors import InputError

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601, as Pillow's mode L)."""


@checked()
def grayscale(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch height width channels"]:
    """Give every channel the luma of its pixel: `y_c = 0.299 R + 0.587 G + 0.114 B` (ITU-R BT.601).

    x is (batch, height, width, 3); of one channel it stays as it is. Raises InputError for another number of channels.
    """
    if x.shape[-1] == 1:
        return x
    if x.shape[-1] != 3:
        raise InputError(f"x has {x.shape[-1]} channels; luma is that of red, green and blue: give 3, or 1 of grey.")
    luma = x @ jnp.asarray(np.asarray(LUMA)[:, None], x.dtype)
    return jnp.broadcast_to(luma, x.shape)
