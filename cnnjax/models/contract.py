"""What every model keeps: `(logits, activations)`, and pixels in [0, 1] as floats."""

import jax.numpy as jnp
from jaxtyping import Array

from cnnjax.errors import InputError

Activations = dict[str, Array]
"""Every layer's output by name, in forward order. Inside `jit`, what is not used costs nothing."""


def check_images(images: Array) -> None:
    """Raise `InputError` unless `images` is a float array `(batch, height, width, channels)`."""
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise InputError(
            f"images have shape {images.shape}: expected (batch, height, width, channels), none of them empty"
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images are {images.dtype}: expected floats in [0, 1]; divide uint8 pixels by 255")
