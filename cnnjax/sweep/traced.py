"""What can be read off a network without running it: its shapes, its cost, its activations to be traced."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from cnnjax import analysis


def shapes_of(model: nn.Module, image_shape: tuple[int, ...]) -> tuple[jax.ShapeDtypeStruct, PyTree]:
    """One image of shape (height, width, channels), and the variables of a network for it, as shapes."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return images, jax.eval_shape(model.init, jax.random.key(0), images)


def cost_of(model: nn.Module, image_shape: tuple[int, ...]) -> analysis.Cost:
    """Parameters and multiply-adds for one image, by layer."""
    return analysis.cost(model.apply, *shapes_of(model, image_shape))


def activations_of(model: nn.Module, variables: PyTree) -> Callable[[jax.Array], Any]:
    """`images -> activations` for analyses that trace a function: of `variables` only the shapes are used."""

    def activations(images: jax.Array) -> Any:
        # Made in the trace, so that they take no memory.
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)
        return model.apply(zeros, images)[1]  # pyright: ignore[reportIndexIssue]

    return activations
