"""Annotations as objects, also where they are strings that name classes of packages not imported yet."""

import inspect
import sys
from collections.abc import Callable
from typing import Any


def evaluate(annotation: Any, f: Callable) -> Any:
    """What an annotation of `f` stands for; a class of a package that only figures import is known by its name."""
    if not isinstance(annotation, str):
        return annotation
    known = {**vars(sys.modules["builtins"]), **getattr(inspect.unwrap(f), "__globals__", {})}
    return eval(annotation, {}, _Known(known))  # the library's own source, never what a user gives


class _Known(dict):
    def __missing__(self, name: str) -> "Elsewhere":
        if name.startswith("_"):
            raise KeyError(name)
        return Elsewhere(name, (), {})


class Elsewhere(type):
    """A class of a package that is imported where it is used, known by its name, as is an instance of it."""

    def __getattr__(cls, name: str) -> "Elsewhere":
        if name.startswith("_"):
            raise AttributeError(name)
        return Elsewhere(name, (), {})

    def __instancecheck__(cls, value: Any) -> bool:
        return any(base.__name__ == cls.__name__ for base in type(value).__mro__)
