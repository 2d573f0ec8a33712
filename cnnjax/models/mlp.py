"""The multilayer perceptron: the network without locality or weight sharing that convolution is compared with."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnnjax.door.limits import Dtype, Positive, Widths
from cnnjax.layers import he_normal, standardize
from cnnjax.layers.module import Module, an_array
from cnnjax.layers.precision import at_least_float32
from cnnjax.models.contract import Activations, check_images
from cnnjax.models.flatten import flatten


class MLP(Module):
    """Pixels flattened, `len(widths)` dense layers with an activation, and a dense layer of class scores.

    The first layer has height · width · channels · widths[0] weights, so parameters grow with the image, and a network
    with parameters takes only images of the size that it was initialised on.

    Images are `(batch, height, width, channels)` in [0, 1]. Activations: `dense1`, ..., `logits`. Multiply-adds are in
    `dtype`, parameters in float32, or float64 where `dtype` is. Raises `InputError` for images that do not fit the
    parameters.
    """

    num_classes: Positive
    """Scores, one for each class."""
    widths: Widths = (256, 256)
    """Units of each hidden layer."""
    activation: Callable[[Array], Any] = nn.relu
    """Nonlinearity."""
    mean: Sequence[float] = (0.5,)
    """What is subtracted from the pixels: one number for all channels, or one for each."""
    std: Sequence[float] = (0.25,)
    """What they are divided by."""
    dtype: Dtype = jnp.float32
    """Of multiply-adds; parameters and logits are float32, or float64 where this is."""

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> tuple[Float[Array, "batch num_classes"], Activations]:
        check_images(images)
        activations: Activations = {}
        x = standardize(images, self.mean, self.std)
        x = flatten(self, x, layer="dense1")
        wide = at_least_float32(self.dtype)
        for layer, width in enumerate(self.widths, 1):
            name = f"dense{layer}"
            x = nn.Dense(width, kernel_init=he_normal, dtype=self.dtype, param_dtype=wide, name=name)(x)
            x = activations[name] = an_array("activation", self.activation(x))
        logits = activations["logits"] = nn.Dense(self.num_classes, dtype=wide, param_dtype=wide, name="logits")(x)
        return logits, activations
