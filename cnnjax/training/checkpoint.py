"""Pytrees of arrays in safetensors files: written whole or not at all, and unable to execute anything when read.

A file carries a digest of itself and the name of what it belongs to, so that a damaged file, or another's in its place,
is refused and never taken for a result.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from cnnjax.door import checked
from cnnjax.door.arrays import as_numpy
from cnnjax.errors import InputError
from cnnjax.files import parse_json, read_file, write_atomic

_REMEDY = "delete it to compute it again"
_BLANK = "0" * 64  # stands for the digest in what the digest is of


class DamagedError(InputError):
    """A file does not hold what was written to it."""


def _names(tree: PyTree) -> list[str]:
    return [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]


@checked()
def save_tree(path: Path, tree: PyTree, *, of: str = "", **about: Any) -> None:
    """Write every array of `tree` under its path in the tree, and `about` (JSON values) beside them.

    `of` says what the file belongs to, such as a cell of a run: who reads it may ask for that, and for its name.
    """
    write_tree(path, tree, label_of(of, path), about)


def write_tree(path: Path, tree: PyTree, label: str, about: Mapping[str, Any], *, keep: Path | None = None) -> None:
    """Write what `read_whole` reads; what was at `path` goes to `keep`, if that is given."""
    from safetensors.numpy import save

    # safetensors writes the memory of a transposed array as if it were not.
    leaves = zip(_names(tree), jax.tree.leaves(tree), strict=True)
    arrays = {name: np.asarray(as_numpy(name or "tree", leaf), order="C") for name, leaf in leaves}
    # One entry: safetensors writes several in an order that changes from process to process.
    beside = {"about": dict(about), "of": label, "sha256": _BLANK}
    content = save(arrays, metadata={"about": json.dumps(beside)})
    header = 8 + int.from_bytes(content[:8], "little")
    signed = content[:header].replace(_BLANK.encode(), _digest(content, header, _BLANK).encode(), 1)
    write_atomic(path, signed + content[header:], keep=keep)


@checked()
def load_tree(path: Path, like: PyTree, *, of: str = "", remedy: str = _REMEDY) -> tuple[PyTree, dict[str, Any]]:
    """Read what `save_tree` wrote into the structure of `like`, whose leaves have the shapes and dtypes expected.

    Raises `InputError` as `read_arrays` does, and, listing what is missing, left over or misshapen, when the file holds
    something else.
    """
    arrays, about = read_arrays(path, of=of, remedy=remedy)
    return fitted(arrays, like, path, remedy), about


def fitted(arrays: Mapping[str, np.ndarray], like: PyTree, path: Path, remedy: str) -> PyTree:
    """The arrays of the file `path` in the structure of `like`; raises `InputError` where they do not fit it."""
    names, leaves = _names(like), jax.tree.leaves(like)
    problems = [f"missing {name}" for name in names if name not in arrays]
    problems += [f"unexpected {name}" for name in arrays if name not in names]
    for name, leaf in zip(names, leaves, strict=True):
        found = arrays.get(name)
        if found is not None and (found.shape, found.dtype) != (leaf.shape, leaf.dtype):
            problems.append(f"{name} is {found.dtype}{list(found.shape)}, not {leaf.dtype}{list(leaf.shape)}")
    if problems:
        raise InputError(f"{path} does not fit this model ({'; '.join(problems)}): {remedy}")
    return jax.tree.unflatten(jax.tree.structure(like), [jax.numpy.asarray(arrays[name]) for name in names])


@checked()
def read_arrays(path: Path, *, of: str = "", remedy: str = _REMEDY) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
    """Every array of a file of `save_tree` by its name, and what was written beside them.

    Raises `InputError`, which names the file and ends in `remedy`, for a damaged file, one without a digest, and, where
    `of` is given, one that was written for something else or under another name.
    """
    arrays, about, label = read_whole(path, remedy)
    check_label(path, label, label_of(of, path), remedy)
    return arrays, about


def read_whole(path: Path, remedy: str) -> tuple[Mapping[str, np.ndarray], dict[str, Any], str]:
    """Every array of a file, what was written beside them, and its label, whoever's it is.

    Raises `DamagedError` for a file whose content is not what was written.
    """
    from safetensors import SafetensorError, safe_open

    content = read_file(path, remedy)
    header = 8 + int.from_bytes(content[:8], "little")
    try:
        text = json.loads(content[8:header].decode())["__metadata__"]["about"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise DamagedError(f"{path} cannot be read (it is damaged, or not a file of this version): {remedy}") from None
    try:
        beside = parse_json(text, path, remedy) if isinstance(text, str) else None
    except InputError as error:
        raise DamagedError(str(error)) from error
    if not isinstance(beside, dict) or {"about", "of", "sha256"} - set(beside) or not isinstance(beside["sha256"], str):
        raise DamagedError(f"{path} cannot be read (it has no digest, so another version wrote it): {remedy}")
    if _digest(content, header, beside["sha256"]) != beside["sha256"] or not isinstance(beside["about"], dict):
        raise DamagedError(f"{path} cannot be read (it is damaged: its content does not match its digest): {remedy}")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"{path} cannot be read ({error}): {remedy}") from error
    return arrays, beside["about"], beside["of"]


def check_label(path: Path, found: str, label: str, remedy: str) -> None:
    """Raise `InputError` for a file that is marked as another's, unless `label` is empty."""
    if label and found != label:
        raise InputError(f"{path} is not of {label}, but of {found or 'nothing named'}: {remedy}")


def label_of(of: str, path: Path) -> str:
    """What a file is marked with that belongs to `of`."""
    return of and f"{of}/{path.name}"


def _digest(content: bytes, header: int, digest: str) -> str:
    """That of a whole file whose header holds `digest`, as it was before that was put in."""
    found = hashlib.sha256(content[:header].replace(digest.encode(), _BLANK.encode(), 1) if digest else b"")
    found.update(memoryview(content)[header:])
    return found.hexdigest()
