"""Trees like what a function returns, with its layers in forward order, where JAX sorts the names of dicts."""

import collections
from collections.abc import Iterable
from typing import Any

import jax


def filled(result: Any, leaves: Iterable[Any]) -> Any:
    """A tree like `result` with other leaves, given in JAX's order; its dicts have the order of those of `result`."""
    return ordered_as(result, jax.tree.unflatten(jax.tree.structure(result), leaves))


def ordered_as(like: Any, tree: Any) -> Any:
    """`tree` with its dicts in the order of those of `like`, which is of the same structure."""
    if type(like) in (dict, collections.OrderedDict):
        return type(like)((key, ordered_as(value, tree[key])) for key, value in like.items())
    if type(like) in (tuple, list):
        return type(like)(map(ordered_as, like, tree))
    if isinstance(like, tuple) and hasattr(like, "_fields"):
        return type(like)(*map(ordered_as, like, tree))
    return tree
