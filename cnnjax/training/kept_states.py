"""The last two states of a training, in files: what it goes on from after a kill, even where the newest is damaged."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.training.checkpoint import DamagedError, check_label, fitted, label_of, read_whole, write_tree
from cnnjax.training.step import METRICS, TrainState

_REMEDY = "delete it to train again from the start"


class CheckpointWarning(UserWarning):
    """A training goes on, but not from where it was last."""


def previous(path: Path) -> Path:
    """Where the state before the newest, which is at `path`, is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


@dataclasses.dataclass(frozen=True)
class Begun:
    """The steps between two logged ones that a stop came between."""

    step: int
    """The step that they follow."""
    metrics: Mapping[str, Sequence[Sequence[float]]]
    """Each metric of each seed's steps since, of which one seed may have taken more than the next."""
    seconds: float
    """That they took."""


@dataclasses.dataclass(frozen=True)
class KeptStates:
    """The files of a training's states, marked with whose they are."""

    path: Path
    """The newest; the one before it is beside it (`previous`)."""
    of: str
    """See `save_tree`."""
    network: str
    """Which network the states are of (`network_name`)."""
    seeds: Sequence[int]

    def save(self, states: TrainState, begun: Begun | None = None) -> None:
        """Write the states of every seed, and keep those written before them."""
        about = {"network": self.network, "seeds": [int(seed) for seed in self.seeds]}
        if begun is not None:
            about["begun"] = dataclasses.asdict(begun)
        write_tree(self.path, states, label_of(self.of, self.path), about, keep=previous(self.path))

    def load(self, like: TrainState, *, last: int) -> tuple[TrainState, Begun | None] | None:
        """The newest states that are whole, in the structure of `like`, or None where nothing is kept.

        Warns where the newest file is damaged, and puts the one before it in its place. Raises `InputError` where that
        is damaged too or absent, and for states of another network, of other seeds, or of no step up to the `last`.
        """
        before = previous(self.path)
        if not self.path.exists():  # a kill may come between the two steps of `save`
            return self._read(before, like, last) if before.exists() else None
        try:
            return self._read(self.path, like, last)
        except DamagedError as error:
            if not before.exists():
                raise
            fault = str(error).removesuffix(f": {_REMEDY}.")
        try:
            found = self._read(before, like, last)
        except DamagedError as error:
            raise InputError(
                f"{fault}, and {before}, the one before it, is damaged too: delete both to train again from the start"
            ) from error
        warnings.warn(
            f"{fault}; the training goes on from the one before it, from step {int(np.min(found[0].step))}",
            CheckpointWarning,
            stacklevel=2,
        )
        before.replace(self.path)
        return found

    def _read(self, path: Path, like: TrainState, last: int) -> tuple[TrainState, Begun | None]:
        arrays, about, label = read_whole(path, _REMEDY)
        for what, mine in (("network", self.network), ("seeds", [int(seed) for seed in self.seeds])):
            if (found := about.get(what, mine)) != mine:
                raise InputError(f"{path} is of the {what} {found}, not of {mine}: name another file, or {_REMEDY}")
        check_label(path, label, label_of(self.of, self.path), _REMEDY)
        states = fitted(arrays, like, path, _REMEDY)
        begun = Begun(**about["begun"]) if "begun" in about else None
        taken = [len(values) for values in begun.metrics[METRICS[0]]] if begun else 0
        check_steps(dataclasses.replace(states, step=np.asarray(states.step) - taken), path, last=last)
        return states, begun


@checked()
def check_steps(states: TrainState, path: Path, *, last: int) -> None:
    """Raise `InputError` for states read from `path` that are not those of one step from 0 to the `last`."""
    steps = np.asarray(states.step)
    if (steps != steps[0]).any() or not 0 <= steps[0] <= last:
        raise InputError(
            f"{path} is at the steps {sorted({int(step) for step in steps})} of a training of {last}: delete it to "
            "train again from the start"
        )


def network_name(model: nn.Module) -> str:
    """The class of a network and its fields that are not the class's defaults, in the same words in every process."""
    fields = {
        name: field
        for name, field in type(model).__dataclass_fields__.items()
        if name not in ("parent", "name") and field.init
    }
    own = {
        name: _text(getattr(model, name))
        for name, field in fields.items()
        if _text(getattr(model, name)) != _text(field.default)
    }
    return f"{type(model).__name__}({', '.join(f'{name}={text}' for name, text in own.items())})"


def _text(value: Any) -> str:
    if isinstance(value, nn.Module):
        return network_name(value)
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_text, value))})"
    return getattr(value, "__qualname__", None) or getattr(value, "__name__", type(value).__name__)
