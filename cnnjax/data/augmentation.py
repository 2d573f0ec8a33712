"""The augmentation of a training: which random changes, and how strong, as numbers that a compiled step is given."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from cnnjax.data.augment import random_crop, random_flip, random_rotation, random_shift
from cnnjax.data.color_jitter import random_color
from cnnjax.door import checked
from cnnjax.errors import InputError

SHARES = ("flip", "color")
"""Fields that are at most 1."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Strengths of the random changes; 0 leaves one out. Cells that differ only here share one compilation."""

    crop: PyTree = 0
    """Padding of the random crop in pixels, so also the farthest shift."""
    rotation: PyTree = 0.0
    """Farthest rotation either way, in degrees."""
    flip: PyTree = 0.0
    """Probability of mirroring left to right."""
    shift: PyTree = 0
    """Farthest circular shift either way, in pixels."""
    color: PyTree = None
    """How far brightness, contrast and saturation change: see `random_color`. None is no part of the program."""

    def as_arrays(self) -> "Augmentation":
        """The same strengths as arrays of one dtype each, so that no strength compiles anew.

        Raises `InputError` for a strength that is not finite or negative, a probability above 1, and pixels that are
        no whole number.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None or isinstance(value, Tracer):
                continue
            known = np.asarray(value, np.float64)
            if not (np.isfinite(known) & (known >= 0)).all() or (field.name in SHARES and (known > 1).any()):
                allowed = "between 0 and 1" if field.name in SHARES else "finite and at least 0"
                raise InputError(f"{field.name} is {value}; it must be {allowed}")
            if field.name in ("crop", "shift") and (known % 1 != 0).any():
                raise InputError(f"{field.name} is {value}; it must be a whole number of pixels")
        return Augmentation(
            jnp.asarray(self.crop, jnp.int32),
            jnp.asarray(self.rotation, jnp.float32),
            jnp.asarray(self.flip, jnp.float32),
            jnp.asarray(self.shift, jnp.int32),
            None if self.color is None else jnp.asarray(self.color, jnp.float32),
        )


@checked()
def apply_augmentation(
    key: PRNGKeyArray, images: Float[Array, "batch height width channels"], strengths: Augmentation
) -> Float[Array, "batch height width channels"]:
    """Mirror, turn, crop, shift, then colour each image by its own draw."""
    flip, turn, crop, shift = jax.random.split(key, 4)
    images = random_flip(flip, images, probability=strengths.flip)
    images = random_rotation(turn, images, degrees=strengths.rotation)
    images = random_crop(crop, images, padding=strengths.crop)
    images = random_shift(shift, images, max_shift=strengths.shift)
    if strengths.color is None:
        return images
    # A fifth child, beside the four that `split` gives.
    return random_color(jax.random.fold_in(key, 4), images, strength=strengths.color)
