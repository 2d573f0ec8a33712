"""How a network halves its maps: by the convolution's stride, or by a pool after a convolution of stride 1."""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax import ops
from cnnjax.errors import InputError
from cnnjax.layers.convolution import Conv, naming_layer
from cnnjax.layers.normalization import Norm, NormName
from cnnjax.ops import Padding

Downsample = Literal["stride", "max", "average"]


def conv_stride(downsample: Downsample, factor: int) -> int:
    """The stride of a convolution that is followed by `pool(..., downsample, factor)`."""
    if downsample not in ("stride", "max", "average"):
        raise InputError(f"unknown downsampling {downsample!r}: one of 'stride', 'max', 'average'")
    return factor if downsample == "stride" else 1


def pool(
    x: Float[Array, "batch height width channels"], downsample: Downsample, factor: int
) -> Float[Array, "batch out_h out_w channels"]:
    """Non-overlapping pooling by `factor`, or nothing where the convolution before has taken the stride."""
    if downsample == "stride" or factor == 1:
        return x
    return (ops.max_pool if downsample == "max" else ops.avg_pool)(x, factor)


class ConvBlock(nn.Module):
    """Convolution, normalisation, activation, then the pool if that is how this block downsamples by `factor`.

    The order is that of pooling after the rectifier: replacing `"max"` by `"stride"` is the step from a pooled
    network to an all-convolutional one (Springenberg et al. 2015, section 2).
    """

    features: int
    kernel_size: int = 3
    factor: int = 1
    downsample: Downsample = "stride"
    padding: Padding = "same"
    norm: NormName = "batch"
    activation: Any = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch out_h out_w features"]:
        x = Conv(
            self.features,
            self.kernel_size,
            strides=conv_stride(self.downsample, self.factor),
            padding=self.padding,
            use_bias=self.norm == "none",
            dtype=self.dtype,
            name="conv",
        )(x)
        x = Norm(self.norm, dtype=self.dtype, name="norm")(x, train=train)
        x = self.activation(x)
        with naming_layer(self):
            return pool(x, self.downsample, self.factor)
