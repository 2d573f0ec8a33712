"""Normalisation of pixels and of maps."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax.errors import InputError

NormName = Literal["batch", "layer", "group", "none"]


def standardize(
    images: Float[Array, "batch height width channels"], mean: Sequence[float], std: Sequence[float]
) -> Float[Array, "batch height width channels"]:
    """(images − mean) / std, by channel: the first step inside every model, so that analyses speak of pixels in [0, 1].

    `mean` and `std` have one entry for all channels or one for each, in units of the pixels.
    """
    channels = images.shape[-1]
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise InputError(
                f"{name} has {len(values)} entries but the images have {channels} channels: give 1 or {channels}"
            )
    if min(std) <= 0:
        raise InputError(f"std={tuple(std)} must be positive")
    shape = (1, 1, 1, -1)
    return (images - jnp.asarray(mean, images.dtype).reshape(shape)) / jnp.asarray(std, images.dtype).reshape(shape)


class Norm(nn.Module):
    """Normalisation of a map by name: over the batch, all of one image, groups of its channels, or not at all.

    `"batch"` keeps running statistics (momentum 0.9) in the collection `batch_stats` and uses them unless `train`.
    `"layer"` takes one image's channels and positions together (Ba et al. 2016, as convolutional networks use it);
    `"group"` the greatest common divisor of 32 and the channels as groups (Wu & He 2018).
    Statistics, scale and the division are float32 whatever `dtype`, that of the result, is.
    """

    kind: NormName = "batch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch height width channels"]:
        if self.kind == "none":
            return x
        if self.kind == "batch":
            norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="batch")
        elif self.kind == "layer":
            norm = nn.GroupNorm(num_groups=1, name="layer")
        elif self.kind == "group":
            groups = math.gcd(32, x.shape[-1])
            norm = nn.GroupNorm(num_groups=groups, name="group")
        else:
            raise InputError(f"unknown normalisation {self.kind!r}: one of 'batch', 'layer', 'group', 'none'")
        return norm(x.astype(jnp.float32)).astype(self.dtype)
