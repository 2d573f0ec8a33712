"""Residual blocks."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax.layers.convolution import Conv, naming_layer
from cnnjax.layers.downsampling import ConvBlock, Downsample, pool
from cnnjax.layers.normalization import Norm, NormName
from cnnjax.ops import Padding


class BasicBlock(nn.Module):
    """activation(F(x) + shortcut(x)) with F two 3×3 convolutions (He et al. 2016, figure 2).

    Without `residual` it is activation(F(x)).

    The shortcut has no parameters (option A of the paper, section 3.3): it takes every `factor`-th position, or the
    pool that the block downsamples by, and appends zeros to the channels.
    """

    features: int
    factor: int = 1
    downsample: Downsample = "stride"
    padding: Padding = "same"
    norm: NormName = "batch"
    activation: Any = nn.relu
    residual: bool = True
    kernel_size: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch out_h out_w features"]:
        y = ConvBlock(
            self.features,
            self.kernel_size,
            factor=self.factor,
            downsample=self.downsample,
            padding=self.padding,
            norm=self.norm,
            activation=self.activation,
            dtype=self.dtype,
            name="conv1",
        )(x, train=train)
        y = Conv(
            self.features,
            self.kernel_size,
            padding=self.padding,
            use_bias=self.norm == "none",
            dtype=self.dtype,
            name="conv2",
        )(y)
        y = Norm(self.norm, dtype=self.dtype, name="norm2")(y, train=train)
        if self.residual:
            with naming_layer(self):
                y = y + self._shortcut(x, y.shape)
        return self.activation(y)

    def _shortcut(self, x: Array, shape: tuple[int, ...]) -> Array:
        f = self.factor
        x = x[:, ::f, ::f] if self.downsample == "stride" else pool(x, self.downsample, f)
        if x.shape[1:3] != shape[1:3]:
            # Unpadded convolutions shrink the map: the shortcut keeps its middle, which is what they are centred on.
            top, left = ((a - b) // 2 for a, b in zip(x.shape[1:3], shape[1:3], strict=True))
            x = x[:, top : top + shape[1], left : left + shape[2]]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, shape[3] - x.shape[3]))).astype(self.dtype)
