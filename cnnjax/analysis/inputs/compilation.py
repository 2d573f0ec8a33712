"""One compilation for networks of one architecture, where the function says that it may be kept."""

import functools
from collections.abc import Callable
from typing import Any

from jax.tree_util import Partial

from cnnjax import runtime


def compiled(core: Callable[..., Any], f: Callable[..., Any], *, static: tuple[str, ...] = ()) -> Callable[..., Any]:
    """`core(f, ...)` as a compiled function of the rest, the arguments named in `static` compiled in.

    Given as a `jax.tree_util.Partial(function, variables)`, networks of one architecture share one compilation; any
    other f is traced anew by each result, for the parameters of a module may have changed in between.
    """
    if isinstance(f, Partial):
        return functools.partial(_shared(core, static), f)
    return runtime.jit(functools.partial(core, f), static_argnames=static)


@functools.lru_cache(maxsize=64)
def _shared(core: Callable[..., Any], static: tuple[str, ...]) -> Callable[..., Any]:
    return runtime.jit(core, static_argnames=static)
