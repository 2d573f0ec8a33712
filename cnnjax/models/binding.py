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


@checked()
def bind(model: Any, variables: PyTree) -> Partial:
    """A function of images that every analysis takes, and that is compiled once.

        forward = models.bind(model, model.init(key, images))
        logits, activations = forward(images)

    `model` is a Flax Linen module, or any function of (variables, images), as `from_torch` gives one; networks of NNX
    and Equinox are split into two such parts. `variables` is a pytree of arrays.

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
    apply = model.apply if isinstance(model, nn.Module) else model

    # Inside another program there is no trace of this one, so that analyses find each array there once.
    @functools.partial(jax.jit, inline=True)
    def in_order(variables: PyTree, images: Any) -> Any:
        return _dicts_as(collections.OrderedDict, apply(variables, images))

    return lambda variables, images: _dicts_as(dict, in_order(variables, images))


def _dicts_as(kind: type[dict], tree: Any) -> Any:
    """Results with their dicts of that class: `jit` sorts the names of a plain one."""
    if isinstance(tree, dict):
        return kind((key, _dicts_as(kind, value)) for key, value in tree.items())
    return type(tree)(_dicts_as(kind, one) for one in tree) if type(tree) in (tuple, list) else tree
