"""Squeeze and excitation: channels weighted by what the whole map shows."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax.door.limits import Dtype, Positive
from cnnjax.layers.initializers import he_normal, lecun_normal
from cnnjax.layers.module import Module
from cnnjax.layers.precision import at_least_float32


class SqueezeExcite(Module):
    """Scale each channel by `sigmoid(W₂ relu(W₁ mean(x)))`, the mean over all positions.

    W₁ has `channels // reduction` outputs, one at least. Source: Hu et al. 2018, equations 2 to 4, reduction 16.
    """

    reduction: Positive = 16
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch *space channels"]) -> Float[Array, "batch *space channels"]:
        channels = x.shape[-1]
        wide = at_least_float32(self.dtype)
        hidden = max(channels // self.reduction, 1)
        s = x.astype(wide).mean(range(1, x.ndim - 1), keepdims=True)
        s = nn.Dense(hidden, kernel_init=he_normal, dtype=wide, param_dtype=wide, name="squeeze")(s)
        s = nn.Dense(channels, kernel_init=lecun_normal, dtype=wide, param_dtype=wide, name="excite")(nn.relu(s))
        return x * nn.sigmoid(s).astype(x.dtype)
