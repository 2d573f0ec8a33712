"""A network with its variables as a function of images."""

import collections
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
from jax.tree_util import Partial
from jaxtyping import PyTree

from cnnjax.door import checked
from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.networks.calls import evaluation
from cnnjax.networks.order import dicts_as


@checked()
def bind(model: Any, variables: PyTree) -> Partial:
    """A function of images that every analysis takes, and that is compiled once.

        forward = models.bind(model, model.init(key, images))
        logits, activations = forward(images)

    `model` is a Flax Linen module, or any function of (variables, images), as `from_torch` gives one; `from_nnx` makes
    such a module of an NNX class, and networks of Equinox are split into two such parts. A module whose call takes
    `train` is told that it does not. `variables` is a pytree of arrays.

    The variables stay arguments of what is compiled, so that networks of one architecture share it: equal modules, or
    the same function. `forward` is a pytree, a `jax.tree_util.Partial(function, variables)`, and can be an argument of
    `jax.jit` itself. Inside another compiled program it is a part of that, and what is not used of it costs nothing.

    Raises InputError for a model that is neither or has no hash, and for variables that are not such arrays.
    """
    if isinstance(model, nn.Module):
        if not isinstance(variables, Mapping) or (variables and "params" not in variables):
            raise InputError(f"variables={shown(variables)} must be what model.init returns, a dict with params")
    elif not callable(model):
        raise InputError(f"model={shown(model)} must be a Flax module or a function of (variables, images)")
    try:
        return Partial(_compiled(model), variables)
    except TypeError as error:
        raise InputError(
            f"model={shown(model)} has no hash to find what is compiled for it: give a function of (variables, images) "
            "that calls it"
        ) from error


@functools.lru_cache(maxsize=64)
def _compiled(model: Any) -> Callable[[PyTree, Any], Any]:
    """The function of a network: by itself, operation by operation, a ResNet-20 takes 25 times as long on a CPU."""
    apply = evaluation(model) if isinstance(model, nn.Module) else model

    # Inside another program there is no trace of this one, so that analyses find each array there once.
    @functools.partial(jax.jit, inline=True)
    def in_order(variables: PyTree, images: Any) -> Any:
        return dicts_as(collections.OrderedDict, apply(variables, images))

    return lambda variables, images: dicts_as(dict, in_order(variables, images))
