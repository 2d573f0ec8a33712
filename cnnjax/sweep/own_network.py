"""A user's own network as options: a Linen or NNX class, by `module:Class`, with its fields that can be typed."""

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn

from cnnjax.data import Dataset
from cnnjax.door.words import one_of, shown
from cnnjax.errors import InputError, first_line
from cnnjax.networks.calls import check_is_network, check_network, is_nnx
from cnnjax.networks.nnx_network import from_nnx
from cnnjax.sweep.module_fields import NAMED, documented, typed
from cnnjax.sweep.own import imported

OF_THE_DATA = ("num_classes", "mean", "std", "image_shape")
"""Fields that follow from the data, where a class has them: (height, width, channels) is the shape of an image."""


def own_class(name: str) -> type:
    """The class of a network that `module:Class` names. Raises InputError where it names none."""
    try:
        found = imported(name, "class")
    except InputError as error:
        raise InputError(f"network.name={name}: {error}") from error
    if not (isinstance(found, type) and (issubclass(found, nn.Module) or is_nnx(found))):
        raise InputError(f"network.name={name} names {shown(found)}: it must be a class of a Flax Linen or NNX module")
    return found


def own_fields(kind: type, name: str) -> list[tuple[str, Any, Any]]:
    """The name, the type and the dataclass field of each option, for `dataclasses.make_dataclass`.

    Those without a default come first. Raises InputError for one that has none and cannot be typed.
    """
    texts, found = _texts(kind), []
    for field, annotation, default in _fields(kind):
        if field in OF_THE_DATA:
            continue
        word = next((word for word, value in NAMED.get(field, {}).items() if value is default), None)
        option = Literal[tuple(NAMED[field])] if word else _typed(annotation, default)  # pyright: ignore
        if option is None:
            if default is dataclasses.MISSING:
                raise InputError(f"network.name={name}: its {field} has no default, and cannot be typed: give it one")
            continue
        value = word or (tuple(default) if isinstance(default, list) else default)
        metadata = {"help": texts.get(field), "named": bool(word)}
        found.append((field, option, dataclasses.field(default=value, metadata=metadata)))
    return sorted(found, key=lambda one: one[2].default is not dataclasses.MISSING)


def make_own(name: str, options: Mapping[str, Any], dataset: Dataset) -> nn.Module:
    """The network of the class `name` with these options, for a dataset, proven on its images without running it.

    Raises InputError where it cannot be made, cannot take the images, or has too few logits.
    """
    kind, shape = own_class(name), dataset.train.images.shape[1:]
    count = len(dataset.class_names)
    data = dict(num_classes=count, mean=dataset.mean, std=dataset.std, image_shape=tuple(shape))
    fields = {**{f: data[f] for f, *_ in _fields(kind) if f in data}, **options}
    try:
        model = kind(**fields) if issubclass(kind, nn.Module) else from_nnx(kind, **fields)
        check_is_network(model)
        classes = check_network(model, tuple(shape))
    except Exception as error:  # of a user's own code
        said = str(error) if isinstance(error, InputError) else f"it raises {type(error).__name__}: {first_line(error)}"
        raise InputError(f"network.name={name}: {said}") from error
    if classes < count:
        raise InputError(
            f"network.name={name}: it has {classes} logits, and {dataset.name} has {count} classes: give it a field "
            "num_classes, which is then set"
        )
    return model


def _fields(kind: type) -> list[tuple[str, Any, Any]]:
    """The name, the annotation and the default of every field, whichever framework it is of."""
    if issubclass(kind, nn.Module):
        own = [f for f in dataclasses.fields(kind) if f.init and f.name not in ("parent", "name")]
        made = dataclasses.MISSING
        return [
            (f.name, _known(f.type, kind), f.default if f.default_factory is made else f.default_factory()) for f in own
        ]
    found = []
    for p in inspect.signature(kind.__init__).parameters.values():
        if p.name not in ("self", "rngs") and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            default = dataclasses.MISSING if p.default is p.empty else p.default
            found.append((p.name, _known(p.annotation, kind), default))
    return found


def _known(annotation: Any, kind: type) -> Any:
    """The annotation as an object; None where it says nothing, or names what is not known."""
    if annotation in (inspect.Parameter.empty, Any):
        return None
    if not isinstance(annotation, str):
        return annotation
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, globalns=vars(sys.modules[kind.__module__]))["it"]
    except Exception:  # it may name what is imported for type checkers only
        return None


_PLAIN = (bool, int, float, str, type(None))


def _typed(annotation: Any, default: Any) -> Any:
    """The type of an option; None where a value cannot be typed in a command."""
    if annotation is not None and _plain(annotation):
        return typed("", annotation)
    if isinstance(default, bool | int | float | str):
        return type(default)
    items = default if isinstance(default, tuple | list) else ()
    if items and all(type(item) is type(items[0]) and isinstance(item, bool | int | float | str) for item in items):
        return tuple[type(items[0]), ...]
    return None


def _plain(annotation: Any) -> bool:
    parts, origin = typing.get_args(annotation), typing.get_origin(annotation)
    if origin is Literal:
        return True
    if origin is typing.Annotated:
        return _plain(parts[0])
    if origin in (typing.Union, types.UnionType) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return bool(parts) and all(_plain(part) for part in parts if part is not ...)
    return annotation in _PLAIN


def _texts(kind: type) -> dict[str, str]:
    try:
        return documented(kind)
    except (OSError, TypeError, SyntaxError):  # of a class without a file, as of a notebook
        return {}


def missing(fields: Sequence[str], name: str) -> InputError:
    """The error where fields without a default are not given."""
    return InputError(
        f"network.name={name} needs {one_of([f'network.{field}' for field in fields])}: no default is known"
    )
