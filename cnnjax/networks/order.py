"""Results with their layers in forward order: JAX sorts the names of a plain dict whenever it takes a tree apart."""

import collections
from typing import Any


def dicts_as(kind: type[dict], tree: Any) -> Any:
    """`tree` with its dicts of that class: of an `OrderedDict` JAX keeps the order."""
    if type(tree) in (dict, collections.OrderedDict):
        return kind((key, dicts_as(kind, value)) for key, value in tree.items())
    if type(tree) in (tuple, list):
        return type(tree)(dicts_as(kind, one) for one in tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(dicts_as(kind, one) for one in tree))
    return tree
