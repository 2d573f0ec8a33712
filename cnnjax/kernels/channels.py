"""What batch normalisation computes for each channel, as primitives that are closed under derivatives.

Three functions of maps (copies, positions, channels) and of vectors (copies, channels), of which any may have one copy
that is every other's:

    sums(a, b, c)              = (Σ a, Σ a (b − c))           over positions
    moments(x)                 = (Σ x / n, Σ (x − mean)² / n)
    scale_and_shift(x, c, s, t) = s (x − c) + t

The first is the transpose of the last in (t, s), and the derivative of the second is made of it. So the gradient of
batch normalisation reads each map once to reduce it, and its derivatives of every order are these functions again.
On a CPU the first two are kernels where maps are large; otherwise all three are XLA's operations.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import mlir

from cnnjax.kernels import trial
from cnnjax.kernels.choice import against_sums
from cnnjax.kernels.primitive import devices_of, varying_alike

sums_p, moments_p, scale_and_shift_p = (
    Primitive(f"cnnjax_{name}") for name in ("channel_sums", "channel_moments", "scale_and_shift")
)


def sums(a: Any, b: Any, centre: Any) -> Sequence[Array]:
    """Σ a and Σ a (b − centre), each (copies, channels)."""
    return bind(sums_p, a, b, centre)


def moments(x: Any) -> Sequence[Array]:
    """Mean and variance, each (copies, channels)."""
    return bind(moments_p, x)


def scale_and_shift(x: Any, centre: Any, scale: Any, shift: Any) -> Array:
    """`scale · (x − centre) + shift`, (copies, positions, channels)."""
    (made,) = bind(scale_and_shift_p, x, centre, scale, shift)
    return made


def _plain_sums(a: Array, b: Array, centre: Array) -> tuple[Array, Array]:
    copies = max(operand.shape[0] for operand in (a, b, centre))
    plain = jnp.broadcast_to(a.sum(1), (copies, a.shape[2]))
    return plain, (a * (b - centre[:, None])).sum(1)


def _plain_moments(x: Array) -> tuple[Array, Array]:
    mean = x.mean(1)
    return mean, jnp.square(x - mean[:, None]).mean(1)


def _plain_scale_and_shift(x: Array, centre: Array, scale: Array, shift: Array) -> tuple[Array]:
    return ((x - centre[:, None]) * scale[:, None] + shift[:, None],)


_PLAIN: dict[Primitive, Callable] = {
    sums_p: _plain_sums,
    moments_p: _plain_moments,
    scale_and_shift_p: _plain_scale_and_shift,
}


def bind(primitive: Primitive, *operands: Any) -> list[Array]:
    operands = varying_alike(*operands)
    return primitive.bind(*operands, call_jaxpr=_program(primitive, *map(jax.typeof, operands)))


@functools.lru_cache(4096)
def _program(primitive: Primitive, *types: Any) -> ClosedJaxpr:
    """XLA's program of a primitive of operands of these types."""
    return jax.make_jaxpr(_PLAIN[primitive])(*types)


@functools.partial(jax.jit, static_argnames=("primitive", "call_jaxpr"))
def _jitted(*operands: Any, primitive: Primitive, call_jaxpr: ClosedJaxpr) -> list[Array]:
    return primitive.bind(*operands, call_jaxpr=call_jaxpr)


def _eagerly(primitive: Primitive, *operands: Any, call_jaxpr: ClosedJaxpr) -> list[Array]:
    with jax.disable_jit(False):
        return _jitted(*operands, primitive=primitive, call_jaxpr=call_jaxpr)


def _result_types(primitive: Primitive, *operands: Any, call_jaxpr: ClosedJaxpr) -> list[Any]:
    return _program(primitive, *operands).out_avals


def _lower(ctx: Any, *operands: Any, call_jaxpr: ClosedJaxpr) -> Any:
    return mlir.lower_fun(jaxpr_as_fun(call_jaxpr), multiple_results=True)(ctx, *operands)


def _lower_for_cpu(kernel: str, ctx: Any, *operands: Any, call_jaxpr: ClosedJaxpr) -> Any:
    reason = _against_kernel(ctx)
    trial.log(lambda: f"{kernel} {_shape(ctx.avals_in)}: {f'XLA, {reason}' if reason else 'kernel'}")
    if reason is not None:
        return _lower(ctx, *operands, call_jaxpr=call_jaxpr)
    from cnnjax.kernels import channel_calls

    local = [ShapedArray(aval.shape, aval.dtype) for aval in ctx.avals_in]
    f = getattr(channel_calls, f"call_{kernel}")
    return mlir.lower_fun(f, multiple_results=True)(ctx.replace(avals_in=local), *operands)


def _against_kernel(ctx: Any) -> str | None:
    """Why XLA computes sums that are lowered for a CPU, or None if a kernel does."""
    if ctx.module_context.lowering_parameters.for_export:
        return "exported"
    if devices_of(ctx.module_context.axis_context) > 1:
        return "shared out to devices by XLA"
    copies, *of_map = _shape(ctx.avals_in)
    reason = against_sums(copies, *of_map, dtype=ctx.avals_in[0].dtype)
    return reason if reason is not None or trial.ready() else "no kernels here"


def _shape(avals: Sequence[Any]) -> tuple[int, int, int]:
    """Copies, positions and channels."""
    _, positions, channels = avals[0].shape
    return max(aval.shape[0] for aval in avals), positions, channels


for _primitive in _PLAIN:
    _primitive.multiple_results = True
    _primitive.def_impl(functools.partial(_eagerly, _primitive))
    _primitive.def_abstract_eval(functools.partial(_result_types, _primitive))
    mlir.register_lowering(_primitive, _lower)
for _primitive, _kernel in ((sums_p, "sums"), (moments_p, "moments")):
    mlir.register_lowering(_primitive, functools.partial(_lower_for_cpu, _kernel), platform="cpu")
