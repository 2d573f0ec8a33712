"""The cells of an experiment: every combination of the settings that it varies."""

import dataclasses
import enum
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar

from cnnjax.door import checked
from cnnjax.door.choices import check_choice
from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.runs.settings import safe_name

C = TypeVar("C")


@dataclasses.dataclass(frozen=True)
class Cell(Generic[C]):
    """One combination: a name fit for a file, such as `augmentation=crop`; what it sets; the whole configuration."""

    name: str
    settings: dict[str, Any]
    config: C


@checked("axes")
def grid(config: C, axes: Mapping[str, Sequence[Any]]) -> list[Cell[C]]:
    """The product over `axes`, the last axis fastest; no axes give the one cell `base`.

    An axis maps a field of the frozen dataclass `config`, dotted where nested (`"train.learning_rate"`), to its values.
    Raises InputError for an unknown field (naming near ones), an axis that is empty, text or repeats itself, and axes
    that overwrite each other.
    """
    _check(config, axes)
    shorts = [axis.rpartition(".")[2] for axis in axes]
    labels = [axis if shorts.count(short) > 1 else short for axis, short in zip(axes, shorts, strict=True)]
    cells: list[Cell[C]] = []
    for combination in itertools.product(*axes.values()):
        settings = dict(zip(axes, combination, strict=True))
        name = ",".join(f"{label}={safe_name(_text(value))}" for label, value in zip(labels, combination, strict=True))
        varied = config
        for axis, value in settings.items():
            varied = _with(varied, axis.split("."), value)
        cells.append(Cell(name or "base", settings, varied))
    return cells


def _check(config: Any, axes: Mapping[str, Sequence[Any]]) -> None:
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise InputError(f"config={shown(config)} must be a dataclass with the fields to vary.")
    known = _field_names(config)
    for axis, values in axes.items():
        check_choice(f"{type(config).__name__}: axis", axis, known)
        if isinstance(values, str):
            raise InputError(f"The axis {axis!r} is the text {values!r}; give a sequence of values, as ({values!r},).")
        if not isinstance(values, Collection) or not getattr(values, "ndim", 1):
            raise InputError(f"The axis {axis!r} is {shown(values)}; give a sequence of values.")
        if len(values) == 0:
            raise InputError(f"The axis {axis!r} has no values; give at least one, or leave it out.")
        texts = [_text(value).casefold() for value in values]  # some file systems do not tell A from a
        if twice := [text for text in texts if texts.count(text) > 1]:
            raise InputError(f"The axis {axis!r} has {twice[0]!r} more than once; give every value once.")
        if inner := [other for other in axes if other.startswith(f"{axis}.")]:
            raise InputError(f"The axes {axis!r} and {inner[0]!r} overwrite each other; vary one of them.")


def _field_names(config: Any, prefix: str = "") -> list[str]:
    names: list[str] = []
    for field in dataclasses.fields(config):
        names.append(prefix + field.name)
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            names += _field_names(value, f"{prefix}{field.name}.")
    return names


def _with(config: Any, path: list[str], value: Any) -> Any:
    if len(path) > 1:
        value = _with(getattr(config, path[0]), path[1:], value)
    return dataclasses.replace(config, **{path[0]: value})


def _text(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return value.name
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
