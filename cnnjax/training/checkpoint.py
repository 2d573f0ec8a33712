"""Pytrees of arrays in safetensors files: written whole or not at all, and unable to execute anything when read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from cnnjax.errors import InputError
from cnnjax.files import write_atomic


def _names(tree: PyTree) -> list[str]:
    return [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]


def save_tree(path: Path, tree: PyTree, **about: Any) -> None:
    """Write every array of `tree` under its path in the tree, and `about` (JSON values) beside them."""
    from safetensors.numpy import save

    # safetensors writes the memory of a transposed array as if it were not.
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in zip(_names(tree), jax.tree.leaves(tree), strict=True)}
    write_atomic(path, save(arrays, metadata={"about": json.dumps(about)}))


def load_tree(path: Path, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """Read what `save_tree` wrote into the structure of `like`, whose leaves have the shapes and dtypes expected.

    Raises `InputError`, listing what is missing, left over or misshapen, when the file holds something else.
    """
    arrays, about = read_arrays(path)
    names, leaves = _names(like), jax.tree.leaves(like)
    problems = [f"missing {name}" for name in names if name not in arrays]
    problems += [f"unexpected {name}" for name in arrays if name not in names]
    for name, leaf in zip(names, leaves, strict=True):
        found = arrays.get(name)
        if found is not None and (found.shape, found.dtype) != (leaf.shape, leaf.dtype):
            problems.append(f"{name} is {found.dtype}{list(found.shape)}, not {leaf.dtype}{list(leaf.shape)}")
    if problems:
        raise InputError(f"{path} does not fit this model: {'; '.join(problems)}")
    return jax.tree.unflatten(jax.tree.structure(like), [jax.numpy.asarray(arrays[name]) for name in names]), about


def read_arrays(path: Path) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
    """Every array of a file by its name, and what was written beside them. A damaged file is an `InputError`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return arrays, json.loads((file.metadata() or {}).get("about", "{}"))
    except (SafetensorError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): delete it to compute it again") from error
