"""How a message shows a value: short, and in one line."""

import reprlib
import sys
from typing import Any

import numpy as np

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def shown(value: Any) -> str:
    """A value for a message: arrays by dtype and shape, `float32[2,3]`; classes by name; the rest by a short repr."""
    jax = sys.modules.get("jax")  # where it was never imported, no value is an array of it
    if isinstance(value, np.ndarray) or (jax is not None and isinstance(value, jax.Array)):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"the function {value.__qualname__}"
    return " ".join(_SHORT.repr(value).split())


def in_line(value: Any) -> str:
    """The repr of a value in one line: arrays have theirs in several."""
    return " ".join(repr(value).split())


def one_of(words: list[str]) -> str:
    """The words of a choice: `a`, `a or b`, `a, b or c`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def a(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiouAEIO' else 'a'} {noun}"
