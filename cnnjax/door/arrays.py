"""Arrays at the door: lists, numbers and arrays of NumPy become the array that an annotation asks for."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
from jax.core import Tracer

from cnnjax.door.words import a, shown
from cnnjax.errors import InputError

_KINDS = {
    "float": (jnp.floating, "floating point"),
    "uint": (jnp.unsignedinteger, "unsigned integers"),
    "int": (jnp.integer, "integers"),
    "bool": (np.bool_, "booleans"),
    "number": (jnp.number, "numbers"),
}
"""By the names that annotations have for kinds of dtypes: the kind, and the word for it."""


def is_array(annotation: Any) -> bool:
    """Whether an annotation is that of one kind of array."""
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return not is_key(annotation)
    return annotation in (jax.Array, np.ndarray)


def is_key(annotation: Any) -> bool:
    """Whether an annotation is that of keys of `jax.random`."""
    return getattr(annotation, "dtypes", None) == ("prng_key",)


def converted(name: str, value: Any, annotations: list[Any]) -> Any:
    """`value` as an array of one of these annotations, whatever its shape: of the first one unless it is of another.

    Lists and Python's numbers have no dtype of their own: integers become floats where floats are asked for. Floats
    become those of the one dtype that is asked for. Raises InputError for what does not consist of numbers.
    """
    types = [getattr(annotation, "array_type", annotation) for annotation in annotations]
    at = next((i for i, kind in enumerate(types) if isinstance(value, kind)), 0)
    names = _dtypes(annotations[at])
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.extended):
        raise InputError(f"{name}={shown(value)} is a key; give an array of numbers.")
    if isinstance(value, np.ndarray):
        as_numpy(name, value)
    array = value if isinstance(value, types[at]) else _to_type(types[at], name, value, floats=_kind(names) == "float")
    if len(names) == 1 and jnp.issubdtype(array.dtype, jnp.floating) and _kind(names) == "float":
        return array.astype(names[0])
    return array


def check(name: str, array: Any, annotation: Any) -> None:
    """Raise InputError where kind of dtype, rank or a size in numbers is not the annotation's."""
    names, axes = _dtypes(annotation), getattr(annotation, "dim_str", "...").split()
    kind = _kind(names)
    if kind in _KINDS and not jnp.issubdtype(array.dtype, _KINDS[kind][0]):
        remedy = " Divide images of 0 to 255 by 255." if kind == "float" and array.dtype == np.uint8 else ""
        raise InputError(f"{name} is {array.dtype}; it must be {_KINDS[kind][1]}.{remedy}")
    if len(names) == 1 and array.dtype.name != names[0]:
        raise InputError(f"{name} is {array.dtype}; it must be {names[0]}.")
    check_shape(name, array.shape, axes)


def check_shape(name: str, shape: tuple[int, ...], axes: list[str]) -> None:
    """Raise InputError for a shape of another rank, or of another size where an axis is a number."""
    many = next((i for i, axis in enumerate(axes) if axis.startswith(("*", "..."))), None)
    if many is None:
        fits, sizes = len(shape) == len(axes), dict(enumerate(axes))
    else:
        fits, sizes = len(shape) >= len(axes) - 1, dict(enumerate(axes[:many]))
        sizes |= {i - len(axes): axis for i, axis in enumerate(axes) if i > many}
    if not fits or any(axis.isdigit() and shape[i] != int(axis) for i, axis in sizes.items()):
        expected = f"({', '.join(axes)}{',' * (len(axes) == 1)})" if axes else "a single number"
        raise InputError(f"{name} has shape {shape}; expected {expected}.")


def as_numpy(name: str, value: Any) -> np.ndarray:
    """`value` as a NumPy array of numbers or booleans; InputError for text, objects and ragged lists."""
    array = _attempt(np.asarray, name, value)
    if array.dtype.kind in "biufc" or jnp.issubdtype(array.dtype, np.number):
        return array
    what = f"an array of dtype {value.dtype}" if isinstance(value, np.ndarray) else _class(value)
    raise InputError(f"{name}={shown(value)} is {what}; give an array of numbers.")


def only_for_jax(value: Any) -> bool:
    """Whether JAX alone can make an array of this: a list with traced entries, a variable of a network."""
    return hasattr(value, "__jax_array__") or any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))


def as_jax(name: str, value: Any) -> jax.Array:
    """`value`, an array of NumPy or a list with traced entries, as an array of JAX."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.dtype.itemsize > 4 and value.size:
        kept = np.iinfo(jax.dtypes.canonicalize_dtype(value.dtype))
        if not (kept.min <= value.min() and value.max() <= kept.max):
            raise InputError(f"{name} holds integers from {value.min()} to {value.max()}, beyond {kept.bits} bits.")
    return _attempt(jnp.asarray, name, value)


def _to_type(kind: type, name: str, value: Any, *, floats: bool) -> Any:
    if kind is not np.ndarray and only_for_jax(value):
        return as_jax(name, value)
    array = as_numpy(name, value)
    if floats and array.dtype.kind in "iu" and not hasattr(value, "dtype"):
        array = array.astype(np.float64)
    return array if kind is np.ndarray else as_jax(name, array)


def _attempt(convert: Callable[[Any], Any], name: str, value: Any) -> Any:
    try:
        return convert(value)
    except jax.errors.TracerArrayConversionError as error:
        raise InputError(f"{name}={shown(value)} is traced, but its values must be known; call outside jit.") from error
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        ragged = isinstance(value, (list, tuple)) and "inhomogeneous" in str(error)
        what = "ragged, its rows differ in length" if ragged else _class(value)
        raise InputError(f"{name}={shown(value)} is {what}; give an array of numbers.") from error


def _class(value: Any) -> str:
    return "None" if value is None else a(type(value).__name__)


def _dtypes(annotation: Any) -> tuple[str, ...]:
    """The names of the dtypes that an annotation allows; none where it allows all."""
    names = getattr(annotation, "dtypes", ())
    return names if isinstance(names, tuple) else ()


def _kind(names: tuple[str, ...]) -> str | None:
    """What the dtypes of these names have in common; None where they are all dtypes."""
    kinds = {next(kind for kind in ("float", "uint", "int", "bool", "complex") if kind in name) for name in names}
    if len(kinds) <= 1:
        return next(iter(kinds), None)
    return "int" if kinds == {"int", "uint"} else "number"
