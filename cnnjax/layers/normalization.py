"""Normalisation of pixels and of maps."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax.door import checked
from cnnjax.door.limits import Dtype
from cnnjax.errors import InputError
from cnnjax.layers.batch_norm import BatchNorm
from cnnjax.layers.module import Initializer, Module, initializer
from cnnjax.layers.precision import at_least_float32, normalisation

NormName = Literal["batch", "layer", "group", "none"]


@checked()
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


class Norm(Module):
    """Normalisation of a map by name: over the batch, all of one image, groups of its channels, or not at all.

    `"batch"` keeps running statistics (momentum 0.9) in the collection `batch_stats` and uses them unless `train`.
    `"layer"` takes one image's channels and positions together (Ba et al. 2016, as convolutional networks use it);
    `"group"` the greatest common divisor of 32 and the channels as groups (Wu & He 2018).
    Every axis but the first and the last counts as a position, the group axis of `GroupConv` too: its orientations
    share statistics, scale and bias, so the layer stays equivariant.
    Statistics, scale and the division are float32 at least, whatever `dtype`, that of the result, is.
    """

    kind: NormName = "batch"
    scale_init: Initializer = nn.initializers.ones
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channels"], *, train: bool
    ) -> Float[Array, "batch *space channels"]:
        if self.kind == "none":
            return x
        wide = at_least_float32(self.dtype)
        fields: dict[str, Any] = dict(
            scale_init=initializer(self, "scale_init"), name=self.kind, **normalisation(self.dtype)
        )
        if self.kind == "batch":
            norm = BatchNorm(use_running_average=not train, momentum=0.9, **fields)
        elif self.kind == "layer":
            norm = nn.GroupNorm(num_groups=1, **fields)
        else:
            norm = nn.GroupNorm(num_groups=math.gcd(32, x.shape[-1]), **fields)
        return norm(x.astype(wide)).astype(self.dtype)
