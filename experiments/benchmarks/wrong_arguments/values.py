"""Natural mistakes: what a user gives in place of an argument that is right."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def mistakes(right: Any) -> dict[str, Any]:
    """Wrong values by name; some, such as an array of another rank, are made from the value that is right."""
    values = {name: make() for name, make in _ALWAYS.items()}
    if isinstance(right, (jax.Array, np.ndarray)) and not jnp.issubdtype(right.dtype, jax.dtypes.extended):
        with np.errstate(all="ignore"):
            values |= _arrays(np.asarray(right))
    if isinstance(right, str):
        values["a typo"] = right + "x"
    if isinstance(right, tuple | list) and right:
        values |= {"one entry less": right[:-1], "one entry more": (*right, right[-1]), "text for an entry": ("a",)}
        values |= {"None for an entry": (*right[:-1], None), "NaN for an entry": (*right[:-1], float("nan"))}
    if isinstance(right, dict) and right:
        first, *others = right
        values |= {"one key less": {key: right[key] for key in others}, "a key more": {**right, "more": right[first]}}
        wrong = {"None": None, "text": "text", "a number": 1.0, "no list": [], "NaN in a list": [float("nan")]}
        values |= {f"{name} for a value": {**right, first: value} for name, value in wrong.items()}
    return values


def _arrays(right: np.ndarray) -> dict[str, Any]:
    values = {
        "one axis more": right[None],
        "no batch": right[:0] if right.ndim else np.zeros(0, right.dtype),
        "a list": right.tolist(),
        "as text": right.astype(str),
        "as bool": right.astype(bool),
        "as float16": right.astype(np.float16),
        "as float64": right.astype(np.float64),
        "as int": right.astype(np.int32),
        "as uint8": right.astype(np.uint8),
        "as complex": right.astype(np.complex64),
        "as object": right.astype(object),
        "255 times": right * 255 if right.dtype.kind in "fiu" else right,
    }
    if right.ndim:
        values |= {"one axis less": right[0], "no last axis": right[..., 0], "one of the last axis": right[..., :1]}
        values["an axis moved"] = np.moveaxis(right, -1, 0)
    if right.dtype.kind == "f":
        values["NaN inside"] = right.copy()
        values["NaN inside"][(0,) * right.ndim] = np.nan
    return values


class _Thing:
    """An object of a class that no function knows."""


_ALWAYS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "text": lambda: "text",
    "no text": lambda: "",
    "bytes": lambda: b"bytes",
    "-1": lambda: -1,
    "0": lambda: 0,
    "7": lambda: 7,
    "1.5": lambda: 1.5,
    "NaN": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "True": lambda: True,
    "2^70": lambda: 2**70,
    "1e-320": lambda: 1e-320,
    "no list": list,
    "[1, 2]": lambda: [1, 2],
    "a ragged list": lambda: [[1, 2], [3]],
    "a dict": dict,
    "an array of objects": lambda: np.array([None, object()]),
    "an array of text": lambda: np.array(["a", "b"]),
    "an empty array": lambda: np.zeros(0, np.float32),
    "a number of JAX": lambda: jnp.float32(0.5),
    "an int of JAX": lambda: jnp.int32(3),
    "an int of NumPy": lambda: np.int64(3),
    "a number of NumPy": lambda: np.float64(0.5),
    "a key": lambda: jax.random.key(0),
    "a function of nothing": lambda: lambda: None,
    "a function to None": lambda: lambda *args: None,
    "a function to text": lambda: lambda *args: "text",
    "a class": lambda: _Thing,
    "an object": _Thing,
}
