"""Tracing the function that is looked at: where images do not suit it, one line says so."""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax.errors import FlaxError
from jax.extend.core import ClosedJaxpr

from cnnjax.errors import InputError, first_line
from cnnjax.program.order import filled, ordered_as

_ABOUT_TRACING = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)
_FRAMEWORKS = ("builtins", "jax", "jaxlib", "jaxtyping", "flax", "equinox")


def shapes_of(f: Callable[..., Any], *args: Any) -> Any:
    """The shapes and dtypes of `f(*args)`, as a tree like its result; f is traced, not run.

    Its dicts have the order in which f has filled them. Raises InputError where the arguments do not suit f.
    """
    recorded = _recorded(f)
    with _one_line(args):
        return recorded.in_order(jax.eval_shape(recorded, *args))


def program_of(f: Callable[..., Any], *args: Any) -> tuple[ClosedJaxpr, Any]:
    """The program of `f(*args)`, and what `shapes_of` gives.

    Raises InputError where the arguments do not suit f.
    """
    recorded = _recorded(f)
    with _one_line(args):
        program, result = jax.make_jaxpr(recorded, return_shape=True)(*args)
    return program, recorded.in_order(result)


class _Recorded:
    """A function that remembers the order of the dicts in what it returns, which a trace sorts."""

    def __init__(self, get: Callable[[], Any]):
        self._get = get
        self._orders: dict[Any, Any] = {}

    def __call__(self, *args: Any) -> Any:
        result = self._get()(*args)
        leaves, structure = jax.tree.flatten(result)
        self._orders[structure] = filled(result, range(len(leaves)))
        return result

    def in_order(self, result: Any) -> Any:
        """What a trace says of a result, in that order."""
        return ordered_as(self._orders.get(jax.tree.structure(result)), result)


_known: dict[int, tuple[weakref.ref, _Recorded]] = {}
"""By the identity of a function, as long as that lives: JAX keeps what it has traced of it, and traces it once."""


def _recorded(f: Callable[..., Any]) -> _Recorded:
    place = id(f)
    if place in _known and _known[place][0]() is f:
        return _known[place][1]
    try:
        reference = weakref.ref(f, lambda _: _known.pop(place, None))
    except TypeError:  # of some objects there are no such references
        return _Recorded(lambda: f)
    _known[place] = reference, _Recorded(reference)
    return _known[place][1]


@contextlib.contextmanager
def _one_line(args: tuple[Any, ...]) -> Iterator[None]:
    """Raise InputError, with its cause, where Python, JAX or a framework says that shapes or dtypes do not fit.

    What f raises of its own, what JAX says of values that are not known while it traces, and what is an InputError
    stays as it is.
    """
    try:
        yield
    except (TypeError, ValueError, IndexError, AssertionError, FlaxError) as error:
        if isinstance(error, (InputError, *_ABOUT_TRACING)) or type(error).__module__.split(".")[0] not in _FRAMEWORKS:
            raise
        raise InputError(
            f"the function cannot take {_described(args)}: {type(error).__name__}: {first_line(error)}. Give images of "
            "the size and with the channels that it was made for"
        ) from error


def _described(args: tuple[Any, ...]) -> str:
    """The last of the arguments: the images, or a batch with images in it, after the parameters."""
    leaves = jax.tree.leaves(args[-1]) if args else []
    return " and ".join(f"{jnp.result_type(leaf)} of shape {jnp.shape(leaf)}" for leaf in leaves[:4]) or "no arguments"
