"""What a command calls its networks: a line of text for each, read before anything is opened."""

import dataclasses
import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from cnnjax.data import DataConfig
from cnnjax.errors import InputError
from cnnjax.models.published import NETWORKS
from cnnjax.models.torch_files import PICKLED
from cnnjax.runs import read_config
from experiments.shared.kept_networks import data_of, seeds_in

LABEL = re.compile(r"([A-Za-z0-9_+-][A-Za-z0-9._+-]*)=(.+)", re.DOTALL)
FORMS = "NAME:FILE.safetensors, torch:PACKAGE.MODULE:FUNCTION, torch:FILE.pt2, jax:PACKAGE.MODULE:FUNCTION or a run"


@dataclasses.dataclass(frozen=True)
class Named:
    """One of the command's subjects, not yet opened."""

    text: str
    label: str
    """What the user calls it; may be empty."""
    kind: str
    """"run", "torch", "pt2", "jax", or the name of a network of `models`."""
    place: str
    count: int = 1
    """How many networks it stands for."""


def parse(text: str) -> Named:
    """Read a subject; nothing is opened or imported.

    Raises InputError for what is none, and for a file or a folder that is not there.
    """
    label, place = "", text
    if not Path(text).exists() and (found := LABEL.fullmatch(text)):
        label, place = found.groups()
    kind, colon, rest = place.partition(":")
    if not colon or Path(place).is_dir():
        if not Path(place).expanduser().is_dir():
            near = difflib.get_close_matches(place, NETWORKS, n=1)
            weights = f"; {near[0]} needs its weights, as {near[0]}:FILE.safetensors" if near else ""
            raise InputError(f"subject {text!r} is not a directory of a run{weights}: give {FORMS}")
        return Named(text, label, "run", place, sum(seeds_in(Path(place).expanduser()).values()))
    if kind == "torch" and (Path(rest).suffix in (*PICKLED, ".pt2") or "/" in rest or Path(rest).is_file()):
        return Named(text, label, "pt2", _file(text, rest))
    if kind in ("torch", "jax"):
        module, _, function = rest.partition(":")
        if not all(map(str.isidentifier, [*module.split("."), function])):
            raise InputError(f"subject {text!r}: after {kind}: stands PACKAGE.MODULE:FUNCTION, the names in Python")
        return Named(text, label, kind, rest)
    if kind not in NETWORKS:
        near = difflib.get_close_matches(kind, [*NETWORKS, "torch", "jax"], n=3) or [*NETWORKS, "torch", "jax"]
        raise InputError(f"subject {text!r}: there is no network {kind!r}; perhaps {', '.join(near)}? Give {FORMS}")
    if not Path(rest).is_file():
        raise InputError(f"subject {text!r}: there is no file {rest}")
    return Named(text, label, kind, rest)


def data_of_runs(named: Sequence[Named]) -> DataConfig | None:
    """The images of the first run; None where a subject is no run, and brings none.

    Raises InputError for a run whose config has no data.
    """
    if not named or any(one.kind != "run" for one in named):
        return None
    path = Path(named[0].place).expanduser()
    return data_of(read_config(path.parents[1] if path.parent.name == "cells" else path))


def _file(text: str, place: str) -> str:
    if not Path(place).is_file():
        raise InputError(f"subject {text!r}: there is no file {place}")
    if Path(place).suffix != ".pt2":
        raise InputError(
            f"subject {text!r}: {place} is a pickle, as torch.save writes it, or named like one, and is not opened: "
            "reading one can execute anything. Give the weights as safetensors, NAME:FILE.safetensors, a program of "
            "torch.export.save, torch:FILE.pt2, or a function that builds the module, torch:PACKAGE.MODULE:FUNCTION"
        )
    return place
