"""Tracing the function that is looked at: where images do not suit it, one line says so."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax.errors import FlaxError
from jax.extend.core import ClosedJaxpr

from cnnjax.errors import InputError

_ABOUT_TRACING = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)
_FRAMEWORKS = ("builtins", "jax", "jaxlib", "jaxtyping", "flax", "equinox")


def shapes_of(f: Callable[..., Any], *args: Any) -> Any:
    """The shapes and dtypes of `f(*args)`, as a tree like its result; f is traced, not run.

    Raises InputError where the arguments do not suit f.
    """
    with _one_line(args):
        return jax.eval_shape(f, *args)


def program_of(f: Callable[..., Any], *args: Any) -> tuple[ClosedJaxpr, Any]:
    """The program of `f(*args)`, and what `shapes_of` gives.

    Raises InputError where the arguments do not suit f.
    """
    with _one_line(args):
        return jax.make_jaxpr(f, return_shape=True)(*args)


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
        said = next(filter(None, map(str.strip, str(error).splitlines())), "")
        raise InputError(
            f"the function cannot take {_described(args)}: {type(error).__name__}: {said[:300]}. Give images of the "
            "size and with the channels that it was made for"
        ) from error


def _described(args: tuple[Any, ...]) -> str:
    """The last of the arguments: the images, or a batch with images in it, after the parameters."""
    leaves = jax.tree.leaves(args[-1]) if args else []
    return " and ".join(f"{jnp.result_type(leaf)} of shape {jnp.shape(leaf)}" for leaf in leaves[:4]) or "no arguments"
