"""What analyses take for images, and the checks of them."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from cnnjax.errors import InputError

Images: TypeAlias = ArrayLike | jax.ShapeDtypeStruct
"""Images or signals: an array of NumPy or JAX; where a function is only traced, shape and dtype will do."""
ValueRange = tuple[float | int, float | int] | None
"""Where the pixels of an image may lie; None for anywhere."""


def image_struct(images: Any) -> jax.ShapeDtypeStruct:
    """The shape and dtype of a batch of images or signals; raises InputError where it is none."""
    if not hasattr(images, "shape"):
        raise InputError(f"images are a {type(images).__name__}: give an array, or a jax.ShapeDtypeStruct")
    shape, dtype = jnp.shape(images), jnp.result_type(images)
    if len(shape) not in (3, 4) or 0 in shape:
        raise InputError(
            f"images have shape {shape}: expected (batch, height, width, channels) or (batch, length, channels), "
            "none of them empty"
        )
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"images are {dtype}: expected floats in [0, 1]; divide uint8 pixels by 255")
    return jax.ShapeDtypeStruct(shape, dtype)


def finite_images(images: Any) -> np.ndarray:
    """The images as an array of the dtype that JAX has for them.

    Raises InputError unless they are float images (batch, height, width, channels) or signals, not empty and finite.
    """
    array = np.asarray(images, image_struct(images).dtype)
    if not np.isfinite(array).all():
        raise InputError("images contain NaN or infinity: activations there mean nothing; repair or drop them")
    return array


def checked_images(images: Any, value_range: ValueRange) -> Array:
    """The images as an array of the dtype that JAX has for them.

    Raises InputError for images of the wrong shape or dtype, not finite or outside the range.
    """
    struct = image_struct(images)
    if value_range is not None and not (len(value_range) == 2 and value_range[0] < value_range[1]):
        raise InputError(
            f"value_range={value_range}: give the least and the greatest value of a pixel, or None for any"
        )
    values = np.asarray(images, np.float64)
    if not np.isfinite(values).all():
        raise InputError("the image contains NaN or infinity: repair or drop it")
    if value_range is not None and not (value_range[0] <= values.min() and values.max() <= value_range[1]):
        raise InputError(
            f"the image has values from {values.min():.4g} to {values.max():.4g}, outside {value_range}: divide "
            "pixels by 255, or give the value_range of what f takes, None for any"
        )
    return jnp.asarray(images, struct.dtype)
