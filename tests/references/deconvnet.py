"""The deconvnet layer by layer, as Zeiler & Fergus (2014) describe it, for networks that are one chain of layers."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from cnnjax import ops
from cnnjax.analysis.attribution.backward.project import Projection
from cnnjax.analysis.inputs.units import Unit, checked_units, found_units
from cnnjax.ops import Padding
from cnnjax.ops.unpooling import Overlap


@runtime_checkable
class Layer(Protocol):
    """A layer that knows the way back."""

    def up(self, x: Array) -> tuple[Array, Any]:
        """The layer's map, and what the way back needs."""
        ...

    def down(self, signal: Array, memory: Any, overlap: Overlap) -> Array:
        """The signals at the layer's input, for a batch of them: those of several units of one image."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Convolution:
    """Filters, `ops.conv` plus a bias; back by the same filters transposed, without the bias."""

    kernel: Float[Array, "*window group_channels features"]
    bias: Float[Array, " features"] | None = None
    stride: int | Sequence[int] = 1
    padding: Padding = "same"
    groups: int = 1

    def up(self, x: Array) -> tuple[Array, Any]:
        """The map, and the size of what was read."""
        y = ops.conv(x, self.kernel, stride=self.stride, padding=self.padding, groups=self.groups)
        return y if self.bias is None else y + self.bias.reshape((1,) * (y.ndim - 1) + (-1,)), x.shape[1:-1]

    def down(self, signal: Array, memory: Any, overlap: Overlap) -> Array:
        """The signal through the filters' adjoint."""
        options: dict[str, Any] = dict(stride=self.stride, padding=self.padding, groups=self.groups)
        return ops.conv_transpose(signal, self.kernel, input_size=memory, **options)


@dataclasses.dataclass(frozen=True, eq=False)
class Scale:
    """`scale · x + shift` for each channel, as normalisation with fixed statistics; back by the scale alone."""

    scale: Float[Array, " channels"]
    shift: Float[Array, " channels"]

    def up(self, x: Array) -> tuple[Array, Any]:
        """The map."""
        along = (1,) * (x.ndim - 1) + (-1,)
        return x * self.scale.reshape(along) + self.shift.reshape(along), None

    def down(self, signal: Array, memory: Any, overlap: Overlap) -> Array:
        """The signal times the scale."""
        return signal * self.scale.reshape((1,) * (signal.ndim - 1) + (-1,))


@dataclasses.dataclass(frozen=True)
class Rectifier:
    """max(x, 0), up and down."""

    def up(self, x: Array) -> tuple[Array, Any]:
        """What is positive of the map."""
        return jnp.maximum(x, jnp.zeros_like(x)), None

    def down(self, signal: Array, memory: Any, overlap: Overlap) -> Array:
        """What is positive of the signal."""
        return jnp.maximum(signal, jnp.zeros_like(signal))


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """The maximum of each window, `ops.max_pool`; back to where it was, `ops.max_unpool`."""

    window: int | Sequence[int]
    stride: int | Sequence[int] | None = None
    padding: Padding = "valid"

    def up(self, x: Array) -> tuple[Array, Any]:
        """The map, its switches and the size of what was read."""
        y, switches = ops.max_pool_with_switches(x, self.window, stride=self.stride, padding=self.padding)
        return y, (switches, x.shape[1:-1])

    def down(self, signal: Array, memory: Any, overlap: Overlap) -> Array:
        """The signal on the positions that the switches name."""
        switches, input_size = memory
        options: dict[str, Any] = dict(window=self.window, stride=self.stride, padding=self.padding)
        switches = jnp.broadcast_to(switches, (len(signal), *switches.shape[1:]))
        return ops.max_unpool(signal, switches, input_size=input_size, overlap=overlap, **options)


def deconvnet(
    layers: Sequence[Layer], image: ArrayLike, unit: Unit | None = None, *, overlap: Overlap = "add"
) -> Projection:
    """Map activations of the last of these layers back to pixels, through each layer in turn.

    Every activation of the last layer is set to zero but the unit's; then down to the pixels a pool unpools with its
    switches, a rectifier rectifies, a convolution filters with its kernel transposed.

    With the same network as a function, `project` gives the same pictures. The paper does not say what becomes of
    pooling windows that overlap: with "add" what they send to a pixel adds up; "overwrite" keeps what the last window
    sends, "max" the largest (`ops.max_unpool`).

    image is (height, width, channels) or (length, channels); `unit` is as for `Projector`.
    Source: Zeiler & Fergus 2014, section 2.1.
    """
    x, memories = jnp.asarray(image)[None], []
    for layer in layers:
        x, memory = layer.up(x)
        memories.append(memory)
    index, values = found_units(np.asarray(x[0]), checked_units(unit, x.shape[1:]))
    signal = jnp.zeros((len(index), *x.shape[1:]), x.dtype).at[jnp.arange(len(index)), *index.T].set(values)
    for layer, memory in zip(reversed(layers), reversed(memories), strict=True):
        signal = layer.down(signal, memory, overlap)
    return Projection(np.asarray(signal), index, values)
