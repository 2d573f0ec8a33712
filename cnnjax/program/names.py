"""What the activations of a traced function are called, and the order in which it computes them."""

import collections
from typing import Any

import jax
from jax.tree_util import KeyPath, keystr

from cnnjax.errors import InputError
from cnnjax.program.dataflow import Dataflow


def leaf_names(result: Any) -> list[str]:
    """What the arrays of a result are called by path: "1/conv1"; "output" where it is one array."""
    return [path_name(path) for path, _ in jax.tree.leaves_with_path(result)]


def path_name(path: KeyPath, *, otherwise: str = "output") -> str:
    """The keys of a path with slashes in between; `otherwise` where there are none."""
    return keystr(path, simple=True, separator="/") or otherwise


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
    paths = {value: path_name(found[value][0]) for value in order}
    keys = {value: path.rpartition("/")[2] for value, path in paths.items()}
    often = collections.Counter(keys.values())
    names = {v: keys[v] if often[keys[v]] == 1 else paths[v] for v in order}
    if twice := [name for name, count in collections.Counter(names.values()).items() if count > 1]:
        raise InputError(
            f"two activations would both be called {twice[0]!r}: leave '/' out of the keys of what f returns"
        )
    return {v: (name, found[v][1]) for v, name in names.items()}
