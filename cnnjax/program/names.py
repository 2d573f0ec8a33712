"""What the activations of a traced function are called, and the order in which it computes them."""

import collections
from collections.abc import Sequence
from typing import Any

import jax
from jax.tree_util import KeyPath, keystr

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.networks.order import dicts_as
from cnnjax.program.dataflow import Dataflow


def leaf_names(result: Any) -> list[str]:
    """What the arrays of a result are called by path: "1/conv1"; "output" where it is one array."""
    return [path_name(path) for path, _ in jax.tree.leaves_with_path(result)]


def path_name(path: KeyPath, *, otherwise: str = "output") -> str:
    """The keys of a path with slashes in between; `otherwise` where there are none."""
    return keystr(path, simple=True, separator="/") or otherwise


@checked()
def by_name(result: Any) -> dict[str, Any]:
    """The entries of a result like f's by layer: by key, "conv1", or where several have it by path, "1/conv1".

    So `by_name(receptive_field(f, images))["conv1"]` beside `cost(f, images).layers["conv1"]`: every analysis takes
    such a name for a `layer`. They come in the order of the result's dicts. Raises InputError where two would have one
    name.
    """
    ordered = dicts_as(collections.OrderedDict, result)
    return dict(zip(_short(leaf_names(ordered)), jax.tree.leaves(ordered), strict=True))


def _short(paths: Sequence[str]) -> list[str]:
    """The key of each path where no other has it, the path itself otherwise; InputError where two are the same."""
    keys = [path.rpartition("/")[2] for path in paths]
    often = collections.Counter(keys)
    names = [key if often[key] == 1 else path for key, path in zip(keys, paths, strict=True)]
    if twice := [name for name, count in collections.Counter(names).items() if count > 1]:
        raise InputError(
            f"two activations would both be called {twice[0]!r}: leave '/' out of the keys of what f returns"
        )
    return names


def named(result: Any, flow: Dataflow) -> dict[int, tuple[str, jax.ShapeDtypeStruct]]:
    """The name and the shape of each array of a result by its number in the flow, in the order of computation.

    An array goes by its key where that is its own, by its path in the result otherwise, as "0/conv1", and by "output"
    where it is all of the result. One that is returned twice has one name, the longer path's.
    Raises InputError where two would have one name.
    """
    found: dict[int, tuple[Any, jax.ShapeDtypeStruct]] = {}
    for value, (path, array) in zip(flow.results, jax.tree.leaves_with_path(result), strict=True):
        # The logits come alone and among the activations; there they have a name.
        if value not in found or len(path) > len(found[value][0]):
            found[value] = path, array
    # Not in the order of the result, where `jit` sorts the names.
    order = sorted(found, key=flow.position)
    names = _short([path_name(found[value][0]) for value in order])
    return {value: (name, found[value][1]) for value, name in zip(order, names, strict=True)}
