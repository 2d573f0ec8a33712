"""Stochastic depth: residual branches left out at random while training."""

import flax.linen as nn
from jaxtyping import Array, Float

from cnnjax.errors import InputError
from cnnjax.layers.convolution import naming_layer
from cnnjax.layers.module import Module


class StochasticDepth(Module):
    """Keep an image's branch whole with probability `survival`, and then divide it by that; else make it zero.

    Draws from the random stream "dropout", one draw for each image; without `train`, x comes back as it is. So the
    expectation in training is the map in evaluation. Huang et al. 2016 (equations 2 and 5) draw once for each batch
    and multiply by `survival` in evaluation instead.

    Raises `InputError` unless `survival` lies in (0, 1].
    """

    survival: float | int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *space channels"], *, train: bool
    ) -> Float[Array, "batch *space channels"]:
        if not 0 < self.survival <= 1:
            with naming_layer(self):
                raise InputError(f"survival={self.survival} must lie in (0, 1]; 1 keeps every branch")
        return nn.Dropout(1 - self.survival, broadcast_dims=range(1, x.ndim))(x, deterministic=not train)
