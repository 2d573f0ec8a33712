"""What a user might have in a module of their own: networks, an augmentation, and what is neither."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx


class Linen(nn.Module):
    """A small network."""

    num_classes: int
    width: int = 4
    """Channels."""
    widths: Sequence[int] = (3, 2)
    rate: float | None = None
    activation: Callable = nn.relu
    padding: str = "SAME"
    table: dict | None = None

    @nn.compact
    def __call__(self, images, train: bool):
        x = self.activation(nn.Conv(self.width, (3, 3), padding=self.padding, name="conv")(images))
        return nn.Dense(self.num_classes)(x.mean((1, 2))), {"conv": x}


class Nnx(nnx.Module):
    """A network of NNX."""

    def __init__(self, width=4, *, num_classes, image_shape, rngs: nnx.Rngs):
        self.conv = nnx.Conv(image_shape[-1], width, (3, 3), rngs=rngs)
        self.head = nnx.Linear(width, num_classes, rngs=rngs)

    def __call__(self, images):
        return self.head(nnx.relu(self.conv(images)).mean((1, 2)))


class Needs(nn.Module):
    """A network whose width has no default, and that has two logits."""

    width: int

    @nn.compact
    def __call__(self, images):
        return nn.Dense(2)(nn.Conv(self.width, (1, 1))(images).mean((1, 2)))


class Untypable(nn.Module):
    """A network that wants what cannot be typed."""

    table: dict


def brighten(key, images):
    """Brighten each image by a draw."""
    return jnp.clip(images + jax.random.uniform(key, (len(images), 1, 1, 1)) / 4, 0, 1)


def smaller(key, images):
    """Cut a row off."""
    return images[:, 1:]
