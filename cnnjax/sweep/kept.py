"""What a cell keeps of its networks, and how networks of more seeds are joined to those that stand.

Those of the first seeds stay as they are. Those of the others are trained beside them, from states of their own, and
joined to them in files written whole, the weights last: what says how many networks there are is what a cell goes on
from, at whichever instant it is killed.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import PyTree

from cnnjax.errors import InputError
from cnnjax.runs.folder import Folder
from cnnjax.training.checkpoint import read_arrays
from cnnjax.training.kept_states import previous

WEIGHTS, STATE, PREDICTIONS, FAILURE = (
    "weights.safetensors",
    "state.safetensors",
    "predictions.safetensors",
    "failure.json",
)

_MORE = "more."
_EPOCH = re.compile(r"(more\.)?epoch\d+\.safetensors")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a cell came to: its predictions (see `protocol.measure`), or why it failed."""

    predictions: dict[str, np.ndarray] | None
    failure: str = ""


def outcome(folder: Folder, *, networks: int, classes: int) -> Outcome | None:
    """What the cell in `folder` came to; None where it is not finished.

    It is not while it has the answers of fewer networks, nor where it failed with fewer. Raises `InputError` for a
    damaged file, and one of more networks, or with classes that do not exist.
    """
    if folder.has(PREDICTIONS):
        arrays = folder.arrays(PREDICTIONS)
        answers = [array for name, array in arrays.items() if name.endswith("classes")]
        counts = {len(array) for array in answers}
        if len(counts) != 1 or max(counts) > networks or any(array.max(initial=0) >= classes for array in answers):
            raise InputError(
                f"{folder.path / PREDICTIONS} does not hold the answers of {networks} networks among {classes} "
                "classes: delete it to compute it again"
            )
        if counts == {networks}:
            return Outcome(arrays)
    if folder.has(FAILURE):
        failed = folder.json(FAILURE, remedy="delete it to try the cell again")
        # One that does not note how many networks it had is of a version before: the cell is tried again, and notes it.
        if isinstance(failed, dict) and failed["networks"] == networks:
            return Outcome(None, failed["why"])
    return None


def fail(folder: Folder, why: str, *, networks: int) -> Outcome:
    """Note that a cell of so many networks failed, and why: with as many it comes to the same end."""
    folder.save_json(FAILURE, {"networks": networks, "why": why})
    forget_states(folder)
    return Outcome(None, why)


def snapshot(epoch: int) -> str:
    """The file in which a cell keeps its networks, with their seed axis, as they are after an epoch."""
    return f"epoch{epoch:04d}.safetensors"


def beside(name: str, standing: int) -> str:
    """What a file of networks is called until these are joined to those that stand, where there are some."""
    return f"{_MORE}{name}" if standing else name


def missing(folder: Folder, seeds: Sequence[int]) -> tuple[int, Sequence[int]]:
    """How many networks stand in a cell's weights, those of the first seeds, and the seeds to train next.

    These are those of a training that was begun, which may have been of fewer, or else all others.
    """
    standing = 0
    if folder.has(WEIGHTS):
        arrays, _ = folder.described(WEIGHTS, remedy=f"delete the folder {folder.path} to train the cell again")
        standing = len(next(iter(arrays.values()), ()))
    rest = list(seeds[standing:])
    if not rest or not (begun := _begun(folder)):
        return standing, rest
    if set(begun) <= set(seeds[:standing]):  # a kill left it beside the weights that came of it
        forget_states(folder)
        return standing, rest
    return standing, begun if begun == rest[: len(begun)] else rest


def _begun(folder: Folder) -> list[int]:
    """The seeds of a training that was begun; none where there is none, or where its states cannot be read."""
    for name in (STATE, previous(Path(STATE)).name):
        if folder.has(name):
            try:
                return list(read_arrays(folder.path / name)[1].get("seeds", []))
            except InputError:  # the training says so
                continue
    return []


def joined(folder: Folder, name: str, standing: int, more: PyTree) -> PyTree:
    """The networks that stand in a file, and `more` of them behind these, along the axis of seeds."""
    if not standing:
        return more
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((standing, *leaf.shape[1:]), leaf.dtype), more)
    there = folder.load(name, like, remedy=f"delete the folder {folder.path} to train the cell again")
    return jax.tree.map(lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves]), there, more)


def join(folder: Folder, name: str, standing: int, like: PyTree) -> None:
    """Join the networks that a training wrote beside a file to those in it, once.

    `like` has the structure of the networks that are joined.
    """
    if not folder.has(beside(name, standing)):
        return  # joined before a kill
    more = folder.load(beside(name, standing), like)
    if len(next(iter(folder.arrays(name).values()))) == standing:
        folder.save(name, joined(folder, name, standing, more))
    folder.remove(beside(name, standing))


def forget_states(folder: Folder) -> None:
    """Delete what a cell keeps only while it trains."""
    for name in (STATE, previous(Path(STATE)).name):
        folder.remove(name)
    for file in folder.path.glob(f"{_MORE}*"):
        if _EPOCH.fullmatch(file.name):
            file.unlink()


def forget_measured(folder: Folder) -> None:
    """Delete what was measured of a cell's networks beside their answers: there will be more of them.

    Files that somebody else has put there stay.
    """
    kept = (WEIGHTS, STATE, previous(Path(STATE)).name, PREDICTIONS, FAILURE)
    for file in folder.path.iterdir():
        if file.name not in kept and not _EPOCH.fullmatch(file.name) and folder.wrote(file.name):
            file.unlink()
