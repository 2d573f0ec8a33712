"""The augmentation of a training: which random changes, and how strong, as numbers that a compiled step is given."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from cnnjax.data.augment import random_crop, random_flip, random_rotation, random_shift
from cnnjax.door import checked
from cnnjax.errors import InputError


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

    def as_arrays(self) -> "Augmentation":
        """The same strengths as arrays of one dtype each, so that no strength compiles anew.

        Raises `InputError` for a strength that is not finite or negative, a probability above 1, and pixels that are
        no whole number.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tracer):
                continue
            known = np.asarray(value, np.float64)
            if not (np.isfinite(known) & (known >= 0)).all() or (field.name == "flip" and (known > 1).any()):
                allowed = "between 0 and 1" if field.name == "flip" else "finite and at least 0"
                raise InputError(f"{field.name} is {value}; it must be {allowed}")
            if field.name in ("crop", "shift") and (known % 1 != 0).any():
                raise InputError(f"{field.name} is {value}; it must be a whole number of pixels")
        return Augmentation(
            jnp.asarray(self.crop, jnp.int32),
            jnp.asarray(self.rotation, jnp.float32),
            jnp.asarray(self.flip, jnp.float32),
            jnp.asarray(self.shift, jnp.int32),
        )


@checked()
def apply_augmentation(
    key: PRNGKeyArray, images: Float[Array, "batch height width channels"], strengths: Augmentation
) -> Float[Array, "batch height width channels"]:
    """Mirror, turn, crop, then shift each image by its own draw."""
    flip, turn, crop, shift = jax.random.split(key, 4)
    images = random_flip(flip, images, probability=strengths.flip)
    images = random_rotation(turn, images, degrees=strengths.rotation)
    images = random_crop(crop, images, padding=strengths.crop)
    return random_shift(shift, images, max_shift=strengths.shift)
