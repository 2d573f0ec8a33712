"""The fields of a Linen module as options that can be typed in a command."""

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from cnnjax.door.choices import check_choice
from cnnjax.layers import delta_orthogonal, he_normal, lecun_normal
from cnnjax.layers.activations import ALIAS_FREE
from cnnjax.models.alexnet import gaussian
from cnnjax.models.vit import exact_gelu
from cnnjax.ops.groups import GROUPS
from cnnjax.ops.padding import NAMES as PADDINGS

DECIDED = ("parent", "name", "num_classes", "mean", "std")
"""Fields that are no options: Flax's own, and those that follow from the data."""

NAMED: dict[str, dict[str, Any]] = {
    "activation": {
        **{name: getattr(nn, name) for name in ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh")},
        "exact_gelu": exact_gelu,
        **{function.__name__: function for function in ALIAS_FREE},
    },
    "dtype": {name: getattr(jnp, name) for name in ("float32", "bfloat16", "float16")},
    "group": {name: name for name in GROUPS},
    "kernel_init": {
        "gaussian": gaussian,
        "he_normal": he_normal,
        "lecun_normal": lecun_normal,
        "delta_orthogonal": delta_orthogonal,
    },
    "padding": {name: name for name in PADDINGS},
}
"""The values, by name, of fields that may be more than can be written in a command."""


def option_fields(kind: type[nn.Module], defaults: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The name, the type and the dataclass field of each option of `kind`, for `dataclasses.make_dataclass`.

    Values in `defaults` stand in place of the module's own. The text below a field is the option's help.
    """
    texts, found = documented(kind), []
    for field in dataclasses.fields(kind):
        if field.name not in DECIDED:
            default = _option(field.name, defaults.get(field.name, field.default))
            about = dataclasses.field(default=default, metadata={"help": texts.get(field.name)})
            found.append((field.name, typed(field.name, field.type), about))
    return found


def field_value(name: str, option: Any) -> Any:
    """What the module's field of that name is for a value of its option; raises `InputError` for an unknown word."""
    if name not in NAMED or option is None:
        return option
    check_choice(f"network.{name}", option, NAMED[name])
    return NAMED[name][option]


def _option(name: str, value: Any) -> Any:
    """The value of a field as it is written in a command."""
    if name in NAMED and value is not None:
        return next(word for word, named in NAMED[name].items() if named is value)
    return tuple(value) if isinstance(value, list | tuple) else value


def typed(name: str, annotation: Any) -> Any:
    """The annotation of a field as the type of an option."""
    if name in NAMED:
        optional = [None] if type(None) in typing.get_args(annotation) else []
        return Literal[(*NAMED[name], *optional)]  # pyright: ignore[reportInvalidTypeForm]
    match typing.get_origin(annotation):
        case typing.Annotated:
            return typed(name, typing.get_args(annotation)[0])
        case typing.Union | types.UnionType:
            kinds = [typed(name, part) for part in typing.get_args(annotation)]
            return typing.Union[tuple(kind for kind in kinds if kind is not int or float not in kinds)]  # noqa: UP007
        case origin if isinstance(origin, type) and issubclass(origin, Sequence):
            return tuple[typed(name, typing.get_args(annotation)[0]), ...]
    return annotation


def documented(kind: type) -> dict[str, str]:
    """The text below each field of a class and of those that it inherits from."""
    texts = {}
    for owner in reversed(kind.__mro__):
        if owner.__module__.split(".")[0] in ("builtins", "flax"):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        for pair in itertools.pairwise(body.body if isinstance(body, ast.ClassDef) else ()):
            match pair:
                case (ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text)))):
                    texts[name] = inspect.cleandoc(text)
    return texts
