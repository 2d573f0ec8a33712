"""One compilation for networks of one architecture, where the function says that it may be kept."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.tree_util import Partial
from jaxtyping import Array

from cnnjax import runtime


def compiled(
    core: Callable[..., Any], f: Callable[..., Any], *, given: tuple[Any, ...] = (), static: tuple[str, ...] = ()
) -> Callable[..., Any]:
    """`core(*given, f, ...)` as a compiled function of the rest; what is given or named in `static` is compiled in.

    Given as a `jax.tree_util.Partial(function, variables)`, as `models.bind` does, networks of one architecture share
    one compilation. Any other f is traced anew by each result, for the parameters of a module may have changed in
    between; that program goes away with the result, and the parameters that f holds with it.
    """
    if isinstance(f, Partial):
        return functools.partial(_shared(core, given, static), f)
    return runtime.jit(functools.partial(core, *given, f), static_argnames=static)


def evaluation(f: Callable[[Array], Any]) -> Callable[[Array], list[Array]]:
    """The activations of f in order, `compiled`."""
    return compiled(_leaves, f)


@functools.lru_cache(maxsize=64)
def _shared(core: Callable[..., Any], given: tuple[Any, ...], static: tuple[str, ...]) -> Callable[..., Any]:
    return runtime.jit(functools.partial(core, *given), static_argnames=static)


def _leaves(f: Callable[[Array], Any], images: Array) -> list[Array]:
    return jax.tree.leaves(f(images))
