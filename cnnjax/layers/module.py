"""The base of every layer and network: a Flax module whose fields are read when it is made."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import flax.linen as nn
import jax
from jaxtyping import Array

from cnnjax.door.annotations import evaluate
from cnnjax.door.readers import Reader, reader
from cnnjax.door.words import shown
from cnnjax.errors import InputError

Initializer: TypeAlias = Callable[[Any, Any, Any], Any]
"""Of a key, a shape and a dtype: the array that a parameter starts as."""


class Module(nn.Module):
    """A Flax module whose fields are read by their annotations: lists become tuples, misfits an InputError.

    The message names the class and the field. What no annotation says stays with the class.
    """

    def __post_init__(self) -> None:
        for name, one in _readers(type(self)).items():
            value = one.read(f"{type(self).__name__}: {name}", getattr(self, name))
            setattr(self, name, _hashable(value))
        super().__post_init__()


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def initializer(layer: Any, name: str) -> Initializer:
    """The layer's initialiser of that name, which raises InputError where it does not give an array."""
    return lambda *args: an_array(name, getattr(layer, name)(*args))


def an_array(name: str, value: Any) -> Array:
    """`value`, which a function of that name gave. Raises InputError where it is not an array."""
    if not isinstance(value, jax.Array):
        raise InputError(f"{name} gave {shown(value)}; it must give an array.")
    return value


@functools.cache
def _readers(kind: type[Module]) -> dict[str, Reader]:
    fields = {field.name: field.type for field in dataclasses.fields(kind) if field.name not in ("parent", "name")}
    return {name: reader(evaluate(annotation, kind.__init__)) for name, annotation in fields.items()}
