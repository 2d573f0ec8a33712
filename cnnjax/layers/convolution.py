"""Convolution as a layer: `ops.conv` with a kernel and a bias of its own."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax import ops
from cnnjax.errors import InputError
from cnnjax.ops import Padding

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
"""Standard deviation √(2 / fan in): rectified maps keep their variance through depth (He et al. 2015, eq. 10)."""


class Conv(nn.Module):
    """Cross-correlation with a learned kernel `(height, width, in / groups, features)`, plus a bias.

    Raises `InputError`, naming this layer, where the map is too small for the kernel.
    """

    features: int
    kernel_size: int = 3
    strides: int = 1
    padding: Padding = "same"
    dilation: int = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: Callable = he_normal
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch out_h out_w features"]:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32).astype(self.dtype)
        with naming_layer(self):
            y = ops.conv(
                x.astype(self.dtype),
                kernel,
                stride=self.strides,
                padding=self.padding,
                dilation=self.dilation,
                groups=self.groups,
            )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype)[None, None, None]
        return y


class naming_layer:  # noqa: N801 - used as `with naming_layer(self):`
    """A context that puts a layer's name before the message of any `InputError` raised inside it."""

    def __init__(self, layer: nn.Module | str):
        self.name = layer if isinstance(layer, str) else "/".join(layer.path)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, InputError):
            raise InputError(f"layer {self.name}: {error}") from error
