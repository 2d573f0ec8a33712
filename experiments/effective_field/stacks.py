"""Stacks of convolutions whose effective fields are known in theory (Luo et al. 2016, section 2)."""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnnjax import analysis, ops

Weights = Literal["equal", "random", "random_relu"]


@dataclasses.dataclass(frozen=True)
class Stack:
    """Convolutions of stride 1 one after another."""

    weights: Weights = "equal"
    """All weights alike, in one channel; normal ones; normal ones with a ReLU after each layer."""
    layers: int = 5
    kernel_size: int = 3
    """Odd, so that the middle unit of an image as large as the field sees all of it."""
    channels: int = 8
    """Of each layer, where weights are random."""

    @property
    def size(self) -> int:
        """The receptive field, `n (k − 1) + 1`."""
        return self.layers * (self.kernel_size - 1) + 1

    @property
    def sigma(self) -> float:
        """`√(n (k² − 1) / 12)`, the standard deviation of n uniform kernels one after another along each axis.

        That of the derivative where weights are equal, and of its expected square where they are random of mean 0.
        """
        return math.sqrt(self.layers * (self.kernel_size**2 - 1) / 12)


def measure(stack: Stack, seed: int) -> Float[np.ndarray, "rows columns"]:
    """The effective field of the middle unit in one draw of the weights, on one image of noise.

    In float64, so that the deviation from theory is not that of rounding.
    """
    with jax.enable_x64(True):
        weights, noise = jax.random.split(jax.random.key(seed))
        image = jax.random.normal(noise, (1, stack.size, stack.size, 1), jnp.float64)
        return analysis.effective_receptive_field(draw(stack, weights), image).map


def draw(stack: Stack, key: Array) -> Callable[[Array], Array]:
    """A stack as a function of images with one channel, its values of the size of its input's."""
    k, relu = stack.kernel_size, stack.weights == "random_relu"
    channels = 1 if stack.weights == "equal" else stack.channels

    def kernels(key: Array, count: int, features: int) -> Array:
        shape = (count, k, k, features, channels)
        if stack.weights == "equal":
            return jnp.full(shape, 1 / k**2)
        return jax.random.normal(key, shape) * math.sqrt((2 if relu else 1) / (k**2 * features))

    first, *others = jax.random.split(key)
    (lifting,), rest = kernels(first, 1, 1), kernels(others[0], stack.layers - 1, channels)

    def layer(x: Array, kernel: Array) -> tuple[Array, None]:
        x = ops.conv(x, kernel)
        return jax.nn.relu(x) if relu else x, None

    # A loop, for the derivative of unrolled linear layers is a constant that the compiler would compute, slowly.
    return lambda x: jax.lax.scan(layer, layer(x, lifting)[0], rest)[0]
