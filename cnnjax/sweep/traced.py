"""What can be read off a network without running it: its shapes, its cost, its activations to be traced."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from cnnjax import analysis
from cnnjax.analysis.inputs.layers import NAMED_LAYERS
from cnnjax.errors import InputError
from cnnjax.networks.calls import evaluation, init


def shapes_of(model: nn.Module, image_shape: tuple[int, ...]) -> tuple[jax.ShapeDtypeStruct, PyTree]:
    """One image of shape (height, width, channels), and the variables of a network for it, as shapes."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return images, jax.eval_shape(functools.partial(init, model, image_shape=image_shape), jax.random.key(0))


def cost_of(model: nn.Module, image_shape: tuple[int, ...]) -> analysis.Cost:
    """Parameters and multiply-adds for one image, by layer."""
    return analysis.cost(evaluation(model), *shapes_of(model, image_shape))


def activations_of(model: nn.Module, variables: PyTree) -> Callable[[jax.Array], Any]:
    """`images -> activations` for analyses that trace a function: of `variables` only the shapes are used.

    When it is called it raises InputError for a network that returns logits only.
    """

    def activations(images: jax.Array) -> Any:
        # Made in the trace, so that they take no memory.
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)
        found = evaluation(model)(zeros, images)
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping)):
            raise InputError(
                f"{type(model).__name__} returns logits only, and its layers are asked for: {NAMED_LAYERS}"
            )
        return found[1]

    return activations
