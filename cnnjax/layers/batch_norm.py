"""Flax's batch normalisation with statistics, and a gradient, that read each map once."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax import kernels


class BatchNorm(nn.BatchNorm):
    """`flax.linen.BatchNorm`, whose training over all axes but the last goes by `kernels.moments`.

    Parameters, running statistics and, but for rounding, numbers are Flax's with `use_fast_variance=False`. Maps are of
    `dtype`, which is `param_dtype`: float32 at least. Evaluation, masks, other axes, statistics over devices
    (`axis_name`) and norms without scale or bias are Flax's own.
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channels"], use_running_average: bool | None = None, *, mask: Any = None
    ) -> Float[Array, "batch *space channels"]:
        evaluates = nn.merge_param("use_running_average", self.use_running_average, use_running_average)
        plain = self.axis == -1 and self.axis_name is None and self.use_scale and self.use_bias
        if evaluates or mask is not None or not plain:
            return super().__call__(x, use_running_average, mask=mask)
        channels = x.shape[-1:]
        running = [
            self.variable("batch_stats", name, make, channels, self.param_dtype)
            for name, make in (("mean", jnp.zeros), ("var", jnp.ones))
        ]
        maps = x.reshape(1, -1, *channels)
        mean, var = kernels.moments(maps)
        if not self.is_initializing():
            for old, new in zip(running, (mean, var), strict=True):
                old.value = self.momentum * old.value + (1 - self.momentum) * new[0]
        scale, bias = (
            self.param(name, make, channels, self.param_dtype)
            for name, make in (("scale", self.scale_init), ("bias", self.bias_init))
        )
        made = kernels.scale_and_shift(maps, mean, jax.lax.rsqrt(var + self.epsilon) * scale[None], bias[None])
        return made.reshape(x.shape)
