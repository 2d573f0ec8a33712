"""What a run keeps of a cell, each file for itself, so that a killed run goes on where it was.

Every file names the run, the cell and itself, and carries a digest: what is damaged, or another's, is refused.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from cnnjax.errors import InputError
from cnnjax.files import read_json, write_atomic
from cnnjax.runs.mirror import share

_AGAIN = "delete it to compute it again"


@dataclasses.dataclass(frozen=True)
class Folder:
    """The folder of a cell's files, by their names; what reads one raises `InputError` for a damaged or wrong one."""

    path: Path
    of: str = ""
    """The run and the cell; empty where there is none, and nothing but the content is checked."""

    def has(self, name: str) -> bool:
        """Whether there is something of that name."""
        return (self.path / name).exists()

    def wrote(self, name: str) -> bool:
        """Whether the file of that name is whole and was written here, by `save` or `save_json`, and not by others."""
        try:
            (self.json if name.endswith(".json") else self.arrays)(name)
        except InputError:
            return False
        return True

    def save(self, name: str, tree: Any, **about: Any) -> None:
        """Write arrays, and JSON values beside them (`save_tree`)."""
        from cnnjax.training import save_tree

        save_tree(self.path / name, tree, of=self.of, **about)

    def load(self, name: str, like: Any, *, remedy: str = _AGAIN) -> Any:
        """Arrays in the structure of `like` (`load_tree`)."""
        from cnnjax.training import load_tree

        return load_tree(self.path / name, like, of=self.of, remedy=remedy)[0]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Arrays by their names."""
        return self.described(name)[0]

    def described(self, name: str, *, remedy: str = _AGAIN) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays by their names, and what was written beside them."""
        from cnnjax.training import read_arrays

        arrays, about = read_arrays(self.path / name, of=self.of, remedy=remedy)
        return dict(arrays), about

    def save_json(self, name: str, value: Any) -> None:
        """Write a JSON value."""
        of = self._label(name)
        write_atomic(
            self.path / name, json.dumps({"value": value, "of": of, "sha256": _digest(of, value)}, indent=1) + "\n"
        )

    def json(self, name: str, *, remedy: str = _AGAIN) -> Any:
        """The value that `save_json` wrote."""
        file = self.path / name
        found = read_json(file, remedy)
        if not isinstance(found, dict) or {"value", "of", "sha256"} - set(found):
            raise InputError(f"{file} cannot be read (it is damaged, or not a file of this version): {remedy}")
        if found["sha256"] != _digest(found["of"], found["value"]):
            raise InputError(f"{file} cannot be read (it is damaged: its content does not match its digest): {remedy}")
        if self.of and found["of"] != self._label(name):
            raise InputError(f"{file} is not of {self._label(name)}, but of {found['of'] or 'nothing named'}: {remedy}")
        return found["value"]

    def share(self, *names: str) -> None:
        """Where several processes train together, give all of them those of these files that process 0 has."""
        share(self.path, *names)

    def remove(self, name: str) -> None:
        """Delete a file that is needed no more, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def _label(self, name: str) -> str:
        return self.of and f"{self.of}/{name}"


def _digest(of: str, value: Any) -> str:
    return hashlib.sha256(json.dumps([of, value]).encode()).hexdigest()
