"""Backward rules at max pooling: what a pixel gets that several windows have chosen."""

import collections
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Var
from jaxtyping import Array

from cnnjax import ops
from cnnjax.analysis.attribution.backward.relu_rules import with_programs
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.unpooling import Overlap
from cnnjax.program.calls import CALLS
from cnnjax.program.evaluate import Run, evaluate, run
from cnnjax.program.order import filled
from cnnjax.program.primitives import CONTROL
from cnnjax.program.tracing import program_of
from cnnjax.program.walk import Program, called, equations, opened, programs


@checked()
def with_pool_rule(f: Callable[..., Any], overlap: Overlap) -> Callable[..., Any]:
    """The function `f` with another backward rule at every max pool.

    Each window sends what arrives at it to its maximum, the first of equals. A position that several windows have
    chosen gets with "add" the sum, which is the derivative; with "overwrite" what the last window in row-major order
    sends, as a library's unpooling that stores one value after the other; with "max" the largest (`ops.max_unpool`).
    The rules differ only where windows overlap.

    Pools are windowed maxima, `lax.reduce_window` of `lax.max`, along one or two axes of an array of any layout: those
    of `ops`, Flax and Equinox. Windows along one axis and then along another are one pool. They are found in `jit`,
    `checkpoint`, branches and loops. The result gives what f gives, to the bit; with the last two rules it is not
    linear in the signal, and has no forward derivative.

    Raises InputError for an unknown rule; and when the result is called, where f has no max pool, or one of an enlarged
    map, along more than two axes or inside another primitive than calls, branches and loops. The paper (Zeiler &
    Fergus 2014, section 2.1) gives no rule.
    """

    @functools.wraps(f)
    def ruled(*args: Any) -> Any:
        program, result = program_of(f, *args)
        if not _has_pool(program):
            raise InputError(f"f has no max pool to give overlap={overlap!r} to: leave it out")
        values = _rewritten(overlap, program, list(map(jnp.asarray, jax.tree.leaves(args))))
        return filled(result, values)

    return ruled


class _Pool(NamedTuple):
    """Window, stride, padding and dilation for each axis of an array of a shape."""

    shape: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    @property
    def axes(self) -> tuple[int, ...]:
        sizes = zip(self.window, self.stride, self.padding, strict=True)
        return tuple(axis for axis, (k, s, pair) in enumerate(sizes) if k > 1 or s > 1 or any(pair))

    def after(self, first: "_Pool") -> "_Pool":
        """The pool that is `first` along its axes and then this one along others."""
        mine = self.axes

        def either(theirs: tuple[Any, ...], ours: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(b if axis in mine else a for axis, (a, b) in enumerate(zip(theirs, ours, strict=True)))

        return _Pool(first.shape, *map(either, first[1:], self[1:]))


def _pool_of(eqn: JaxprEqn) -> _Pool | None:
    """The pool that an equation is, if it is one."""
    if eqn.primitive.name == "custom_jvp_call":
        # Those of `ops` have a derivative of their own around it.
        inside = opened(called(eqn))[0]
        return _pool_of(inside.eqns[0]) if len(inside.eqns) == 1 and inside.outvars == inside.eqns[0].outvars else None
    if eqn.primitive.name != "reduce_window_max":
        return None
    p = eqn.params
    operand: Any = eqn.invars[0].aval
    padding = tuple(map(tuple, p["padding"]))
    pool = _Pool(operand.shape, p["window_dimensions"], p["window_strides"], padding, p["window_dilation"])
    if len(pool.axes) > 2 or {*p["base_dilation"]} != {1}:
        raise InputError(
            f"a max pool of windows {pool.window} along {len(pool.axes)} axes, or of an enlarged map, has no such rule"
        )
    return pool


def _has_pool(program: Program) -> bool:
    return any(_pool_of(eqn) is not None or any(map(_has_pool, programs(eqn))) for eqn in equations(program))


def _pools(jaxpr: Jaxpr) -> dict[int, _Pool | None]:
    """Pools by position; None for one whose result goes into the next along other axes, which stands for both."""
    found: dict[int, _Pool | None] = {}
    made: dict[Var, int] = {}
    used = collections.Counter(a for eqn in (*jaxpr.eqns, jaxpr) for a in _read(eqn) if isinstance(a, Var))
    for position, eqn in enumerate(jaxpr.eqns):
        pool = _pool_of(eqn)
        if pool is None:
            continue
        operand = eqn.invars[0]
        before = made.get(operand) if isinstance(operand, Var) and used[operand] == 1 else None
        first = None if before is None else found[before]
        if before is not None and first is not None and set(first.axes).isdisjoint(pool.axes):
            found[before], pool = None, pool.after(first)
            if len(pool.axes) > 2:
                raise InputError(f"a max pool along {len(pool.axes)} axes has no such rule: pool along two at most")
        found[position] = pool
        made[eqn.outvars[0]] = position
    return found


def _read(eqn: JaxprEqn | Jaxpr) -> Sequence[Any]:
    return eqn.outvars if isinstance(eqn, Jaxpr) else eqn.invars


def _rewritten(overlap: Overlap, program: Program, values: Sequence[Any]) -> list[Any]:
    """The results of a program with the rule at its pools."""
    jaxpr, _ = opened(program)
    instead: dict[int, Run] = {}
    for position, eqn in enumerate(jaxpr.eqns):
        if _pool_of(eqn) is None and any(map(_has_pool, programs(eqn))):
            if eqn.primitive.name not in (*CALLS, *CONTROL):
                raise InputError(
                    f"a max pool inside {eqn.primitive.name} cannot be given another rule: call the function without it"
                )
            instead[position] = functools.partial(_run_inside, overlap, jaxpr, eqn)
    for position, pool in _pools(jaxpr).items():
        # What is pooled along other axes as well goes there as it is.
        instead[position] = (lambda operands: operands) if pool is None else functools.partial(_run_pool, overlap, pool)
    return evaluate(program, values, instead=instead)


def _run_pool(overlap: Overlap, pool: _Pool, values: Sequence[Any]) -> list[Array]:
    return [_pooled(pool, overlap, values[0])]


def _run_inside(overlap: Overlap, jaxpr: Jaxpr, eqn: JaxprEqn, values: Sequence[Any]) -> Sequence[Any]:
    if eqn.primitive.name in CALLS:
        return _rewritten(overlap, called(eqn), values)
    replaced = [_traced(overlap, program) for program in programs(eqn)]
    return run(jaxpr, eqn.replace(params=with_programs(eqn, replaced)), values)


def _traced(overlap: Overlap, program: Program) -> Program:
    arguments = [v.aval for v in opened(program)[0].invars]
    traced = jax.make_jaxpr(lambda *values: _rewritten(overlap, program, values))(*arguments)
    return traced if isinstance(program, ClosedJaxpr) else traced.jaxpr


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _pooled(pool: _Pool, overlap: Overlap, x: Array) -> Array:
    return lax.reduce_window(
        x, -jnp.inf, lax.max, pool.window, pool.stride, pool.padding, window_dilation=pool.dilation
    )


def _forward(pool: _Pool, overlap: Overlap, x: Array) -> tuple[Array, Array]:
    _, switches = ops.max_pool_with_switches(_as_maps(pool, x), **_options(pool))
    return _pooled(pool, overlap, x), switches


def _backward(pool: _Pool, overlap: Overlap, switches: Array, g: Array) -> tuple[Array]:
    size = [pool.shape[axis] for axis in pool.axes]
    back = ops.max_unpool(_as_maps(pool, g), switches, input_size=size, overlap=overlap, **_options(pool))
    kept = [n for axis, n in enumerate(pool.shape) if axis not in pool.axes]
    if not _are_maps(pool):
        back = back.reshape(*kept, *size)
        back = jnp.moveaxis(back, range(len(kept), back.ndim), pool.axes)
    return (back,)


_pooled.defvjp(_forward, _backward)


def _are_maps(pool: _Pool) -> bool:
    return pool.axes == tuple(range(1, len(pool.shape) - 1))


def _as_maps(pool: _Pool, x: Array) -> Array:
    """An array of any layout as (batch, *space, channels)."""
    if _are_maps(pool):
        return x
    rank = len(pool.axes)
    last = jnp.moveaxis(x, pool.axes, range(x.ndim - rank, x.ndim))
    return last.reshape(math.prod(last.shape[: x.ndim - rank]), *last.shape[x.ndim - rank :], 1)


def _options(pool: _Pool) -> dict[str, Any]:
    names = ("window", "stride", "padding", "dilation")
    return {name: [getattr(pool, name)[axis] for axis in pool.axes] for name in names}
