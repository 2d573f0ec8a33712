"""A user's own augmentation, a function of a key and images, as a part of the training step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cnnjax.data import Augmentation, apply_augmentation
from cnnjax.door.words import shown
from cnnjax.errors import InputError, first_line
from cnnjax.sweep.own import imported


@dataclasses.dataclass(frozen=True)
class OwnAugmentation:
    """The library's changes of the images, then one of the user's own, by a key that none of the others has."""

    change: Callable[[Array, Array], Any]
    """Of a key and images (batch, height, width, channels), floats in [0, 1]: as many of the same size."""

    def __call__(self, key: Array, images: Array, strengths: Augmentation) -> Array:
        """The images of a step, changed."""
        return self.change(jax.random.fold_in(key, 2**31), apply_augmentation(key, images, strengths))


def own_augmentation(place: str, option: str) -> OwnAugmentation:
    """The augmentation that `module:function` names, given to an option. Raises InputError where it names none."""
    try:
        found = imported(place, "function")
    except InputError as error:
        raise InputError(f"{option}={place}: {error}") from error
    if isinstance(found, type) or not callable(found):
        raise InputError(f"{option}={place} names {shown(found)}: it must be a function of (key, images)")
    return OwnAugmentation(found)


def check_augmentation(own: OwnAugmentation, place: str, option: str, image_shape: tuple[int, ...]) -> None:
    """Raise InputError unless it makes images (height, width, channels) of such; it is traced, not run."""
    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    try:
        made = jax.eval_shape(own.change, jax.random.key(0), images)
    except Exception as error:  # of a user's own code
        raise InputError(
            f"{option}={place} does not change images {images.shape} by a key: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    shape, dtype = getattr(made, "shape", None), getattr(made, "dtype", None)
    if (shape, dtype) != (images.shape, images.dtype):
        what = shown(made) if shape is None else f"{dtype} of shape {shape}"
        raise InputError(f"{option}={place} makes {what} of images {images.shape}, float32: keep shape and dtype")
