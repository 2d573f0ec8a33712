"""What a run was begun with, and what it may have more of, so that it grows and what stands is kept."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnjax import processes
from cnnjax.errors import InputError
from cnnjax.files import remove_partial, write_atomic
from cnnjax.runs.provenance import changes, provenance
from cnnjax.runs.records import RunWarning, read_config
from cnnjax.runs.settings import identity

TABLES = "tables.json"
"""What a run has as data once it is finished."""


def write_config(
    path: Path, experiment: str, settings: dict[str, Any], ignore: Sequence[str], grows: Sequence[str]
) -> Mapping[str, Any]:
    """Write the configuration of a new run, or check that of an earlier one, and return it."""
    here = provenance()
    if (path / "config.json").exists():
        document = read_config(path)
        if document["identity"] != _identity(experiment, document["config"], [*ignore, *grows]):
            grows = ()  # begun when it could not: its cells are marked with all of its settings
        grown = _refuse_other_settings(path, experiment, settings, document, ignore, grows)
        if document["identity"] != _identity(experiment, settings, [*ignore, *grows]):
            raise InputError(
                f"{path / 'config.json'} is corrupt (its identity is not that of its settings); restore it, or remove "
                "the directory to begin the run anew."
            )
        _remove_partial(path)
        differing = changes((document["resumed"] or [document])[-1], here)
        if not differing and not grown:
            return document
        if differing:
            where = f"{path} goes on elsewhere than it was begun ({'; '.join(differing)})"
            warnings.warn(f"{where}; its numbers may differ slightly.", RunWarning, stacklevel=3)
        if grown:
            for name in (TABLES, "table.md"):  # of what the run was: it is not finished any more
                (path / name).unlink(missing_ok=True)
            document["config"] = settings
        document["resumed"].append(here)
    else:
        remove_partial(path, "config.json")  # no more than that can a killed process have left
        name = _identity(experiment, settings, [*ignore, *grows])
        document = {"experiment": experiment, "identity": name, "config": settings, **here, "resumed": []}
    write_atomic(path / "config.json", config_text(document))
    return document


def config_text(document: Mapping[str, Any]) -> str:
    """The content of `config.json`."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _refuse_other_settings(
    path: Path,
    experiment: str,
    settings: dict[str, Any],
    document: Mapping[str, Any],
    ignore: Sequence[str],
    grows: Sequence[str],
) -> bool:
    """Raise `InputError` for other settings than the run's, but for more of what grows; say whether there is more."""
    now = {"experiment": experiment, **identity(settings, ignore)}
    before = {"experiment": document["experiment"], **identity(document["config"], ignore)}
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    which = f"run in {path}" if processes.first() else "run of process 0"
    grows = grows if processes.first() else ()  # which has let it grow: all others have the same options
    more = [name for name in differing if name in grows and is_more(before.get(name), now.get(name))]
    if other := [name for name in differing if name not in more]:
        both = "; ".join(f"{name} was {before.get(name, 'absent')}, is {now.get(name, 'absent')}" for name in other)
        if all(name in grows and is_more(now.get(name), before.get(name)) for name in other):
            raise InputError(f"The {which} has more: {both}. It grows but does not shrink: give those, or more.")
        raise InputError(f"The {which} has other settings: {both}. Give those, or name another directory.")
    return bool(more)


def _identity(experiment: str, settings: Mapping[str, Any], ignore: Sequence[str]) -> str:
    """The experiment's name and a digest of what makes the run the run it is."""
    text = json.dumps([experiment, identity(settings, ignore)], sort_keys=True)
    return f"{experiment} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _remove_partial(path: Path) -> None:
    """Remove what a process killed in the middle of a file has left in the folders that a run writes to."""
    remove_partial(path)
    remove_partial(path / "figures")
    cells = path / "cells"
    for cell in [] if cells.is_symlink() or not cells.is_dir() else cells.iterdir():
        remove_partial(cell)


def is_more(before: str | None, now: str | None) -> bool:
    """Whether a setting, as `settings.identity` writes it, holds all that it held before, and more.

    A whole number does where it is larger, and a choice of several where it has the same and others. A choice that was
    empty does not: it means something else than one that names what it is of.
    """
    was, found = (_value(text) for text in (before, now))
    if _counts(was) and _counts(found):
        return found > was
    if isinstance(was, list) and isinstance(found, list):
        return bool(was) and len(found) > len(was) and all(value in found for value in was)
    return False


def _value(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
