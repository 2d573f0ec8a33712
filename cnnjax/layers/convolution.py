"""Convolution and its transpose as layers: one op each, with a kernel and a bias of its own."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.errors import ScopeParamShapeError
from jaxtyping import Array, Float, Key

from cnnjax import ops
from cnnjax.door.limits import Dtype, Positive
from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.layers.initializers import he_normal
from cnnjax.layers.module import Initializer, Module, initializer
from cnnjax.layers.precision import at_least_float32
from cnnjax.ops import Padding
from cnnjax.ops.padding import per_axis


class naming_layer:  # noqa: N801 - used as `with naming_layer(self):`
    """A context that puts a layer's name before the message of any `InputError` raised inside it."""

    def __init__(self, layer: nn.Module | str):
        self.name = layer if isinstance(layer, str) else "/".join(layer.path) or type(layer).__name__

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, InputError):
            raise InputError(f"layer {self.name}: {error}") from error


class KernelLayer(Module):
    """What convolutions share: `operation(x, kernel) + bias`, the kernel drawn by `kernel_init` in `kernel_shape(x)`.

    Kernel and bias are float32, or float64 where `dtype` is; both and x are cast to `dtype` before they meet.
    """

    features: Positive
    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: Padding = "same"
    dilation: int | Sequence[int] = 1
    use_bias: bool = True
    kernel_init: Initializer = he_normal
    bias_init: Initializer = nn.initializers.zeros
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch *space channels"]) -> Float[Array, "batch *resolution features"]:
        wide = at_least_float32(self.dtype)
        with naming_layer(self):
            kernel = self._kernel(x, wide)
            y = self.operation(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            bias = self.param("bias", initializer(self, "bias_init"), (self.features,), wide)
            y = y + bias.astype(self.dtype).reshape((1,) * (y.ndim - 1) + (-1,))
        return y

    def _kernel(self, x: Array, dtype: Any) -> Array:
        try:
            return self.param("kernel", self.draw_kernel, self.kernel_shape(x), dtype)
        except ScopeParamShapeError as error:
            kernel = shown(self.get_variable("params", "kernel"))
            raise InputError(
                f"its kernel, {kernel}, is not made for maps of {x.shape[-1]} channels: give what the network was "
                "initialised on, or initialise it anew"
            ) from error

    def kernel_shape(self, x: Array) -> tuple[int, ...]:
        """The shape that `kernel_init` is asked for: `(*window, in, out)`, so that it sees the fan-in."""
        raise NotImplementedError

    def draw_kernel(self, key: Key[Array, ""], shape: tuple[int, ...], dtype: Any) -> Float[Array, "*kernel"]:
        """The kernel as the operation takes it."""
        return initializer(self, "kernel_init")(key, shape, dtype)

    def operation(self, x: Array, kernel: Array) -> Array:
        """The op, with this layer's fields."""
        raise NotImplementedError

    def window(self, rank: int) -> tuple[int, ...]:
        """`kernel_size` with one entry for each spatial axis."""
        return per_axis(self.kernel_size, rank, name="kernel_size")


class Conv(KernelLayer):
    """Cross-correlation (`ops.conv`) with a learned kernel `(*window, in / groups, features)`, plus a bias.

    x is (batch, length, channels) or (batch, height, width, channels); `groups` equal to its channels makes the
    convolution depthwise. Raises `InputError`, naming this layer, as `ops.conv` does.
    """

    groups: Positive = 1

    def kernel_shape(self, x: Array) -> tuple[int, ...]:
        return (*self.window(x.ndim - 2), _per_group(x.shape[-1], self.groups), self.features)

    def operation(self, x: Array, kernel: Array) -> Array:
        return ops.conv(
            x, kernel, stride=self.strides, padding=self.padding, dilation=self.dilation, groups=self.groups
        )


class ConvTranspose(KernelLayer):
    """Up-convolution: the adjoint (`ops.conv_transpose`) of a convolution from `features` channels to those of x.

    The map grows from n to n · strides. The kernel is that convolution's, `(*window, features / groups, channels)`,
    and is drawn with the fan-in of the sum that is taken here, |window| · channels / groups.

    Raises `InputError`, naming this layer, as `ops.conv_transpose` does: above all where that convolution would not
    bring n · strides back to n, as "valid" with a window larger than the stride does not.
    """

    groups: Positive = 1

    def kernel_shape(self, x: Array) -> tuple[int, ...]:
        return (*self.window(x.ndim - 2), _per_group(x.shape[-1], self.groups), self.features)

    def draw_kernel(self, key: Key[Array, ""], shape: tuple[int, ...], dtype: Any) -> Float[Array, "*kernel"]:
        *window, channels, features = shape
        features = _per_group(features, self.groups)
        kernel = super().draw_kernel(key, shape, dtype).reshape(*window, channels, self.groups, features)
        return jnp.swapaxes(kernel, -1, -3).reshape(*window, features, self.groups * channels)

    def operation(self, x: Array, kernel: Array) -> Array:
        sizes = x.shape[1:-1]
        strides = per_axis(self.strides, len(sizes), name="strides")
        return ops.conv_transpose(
            x,
            kernel,
            input_size=tuple(n * s for n, s in zip(sizes, strides, strict=True)),
            stride=strides,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


def _per_group(channels: int, groups: int) -> int:
    if groups < 1 or channels % groups:
        raise InputError(f"groups={groups} must be positive and divide the {channels} channels")
    return channels // groups
