"""A configuration as JSON: what is written, what is compared, what names a run."""

import dataclasses
import enum
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnnjax.door.words import a, in_line
from cnnjax.errors import InputError


def to_json(config: Any, name: str = "config") -> Any:
    """A frozen config dataclass as plain JSON values.

    Dataclasses and mappings become objects, tuples arrays, paths text, enums their names; errors call it `name`.
    Raises InputError for a number that is not finite and for a type that JSON cannot hold.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_json(getattr(config, f.name), f"{name}.{f.name}") for f in dataclasses.fields(config)}
    if isinstance(config, enum.Enum):
        return config.name
    if isinstance(config, np.generic):
        config = config.item()
    if isinstance(config, float) and not math.isfinite(config):
        raise InputError(f"{name} is {config}, which JSON cannot hold; give a finite number, or None for no limit.")
    if config is None or isinstance(config, bool | int | float | str):
        return config
    if isinstance(config, Path):
        return str(config)
    if isinstance(config, Mapping) and all(isinstance(key, str) for key in config):
        return {key: to_json(value, f"{name}.{key}") for key, value in config.items()}
    if isinstance(config, Sequence) and not isinstance(config, bytes):
        return [to_json(value, f"{name}[{i}]") for i, value in enumerate(config)]
    raise InputError(
        f"{name} is {in_line(config)}, {a(type(config).__name__)}, which JSON cannot hold; "
        "use numbers, text, paths, enums, tuples, None, or dataclasses of these."
    )


def identity(settings: Mapping[str, Any], ignore: Sequence[str] = ()) -> dict[str, str]:
    """What makes a run the run it is: canonical JSON text by dotted name, such as `{"train.epochs": "3"}`.

    The names in `ignore`, and what lies below them, are left out. A whole float counts as an int, so that a rate of 1
    typed in a notebook and 1.0 read by a command line are one setting.
    """
    return {
        name: json.dumps(_canonical(value), sort_keys=True, ensure_ascii=False)
        for name, value in _flatten(settings).items()
        if not any(name == skip or name.startswith(f"{skip}.") for skip in ignore)
    }


def readable_id(settings: Mapping[str, Any], ignore: Sequence[str] = ()) -> str:
    """A short directory name: the values of up to three fields called `name`, then 8 hex digits of a hash."""
    texts = identity(settings, ignore)
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:8]
    flat = _flatten(settings)
    names = [flat[name] for name in texts if name.rpartition(".")[2] == "name" and isinstance(flat[name], str)]
    return "-".join([*map(safe_name, names[:3]), digest])


CELL_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._=,+-]*")
"""What a cell may be called, and so its folder."""


def safe_name(text: str) -> str:
    """`text` as (part of) a file name: as it is where at most 40 letters, digits and `._+-` suffice.

    Otherwise it is mended and marked with a hash, so that two texts never share a name.
    """
    if re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,39}", text):
        return text
    mended = re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.")[:40]
    return f"{mended}-{hashlib.sha256(text.encode()).hexdigest()[:6]}".lstrip("-")


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _canonical(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return value
