"""Convolution as a primitive of its own: XLA's operation on every platform, and compiled kernels on a CPU.

Which of them computes a pass is decided when a program is lowered for a platform. What reads a traced program finds
XLA's program of the same in the parameter `call_jaxpr`.
"""

import functools
import math
from typing import Any

import jax
from jax import Array, lax
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import mlir

from cnnjax.kernels import trial
from cnnjax.kernels.by_xla import for_cpu, plain
from cnnjax.kernels.choice import against_kernel
from cnnjax.kernels.geometry import Geometry, Pass
from cnnjax.kernels.shares import shares

conv_p = Primitive("cnnjax_conv")

Mapped = tuple[bool, bool]
"""Which operands there are copies of, along a first axis. The result has that axis if one of them has."""


def convolution(x: Any, kernel: Any, geometry: Geometry) -> Array:
    """The convolution of maps (batch, *space, channels) with a kernel (*window, channels / groups, features)."""
    return bind(x, kernel, geometry=geometry, which="forward", mapped=(False, False))


def bind(a: Any, b: Any, *, geometry: Geometry, which: Pass, mapped: Mapped) -> Array:
    """A pass over arrays of JAX's or NumPy's.

    "forward" is of (maps, kernel), "input" of (cotangent, kernel), "weights" of (maps, cotangent).
    """
    a, b = varying_alike(a, b)
    program = _program(jax.typeof(a), jax.typeof(b), geometry=geometry, which=which, mapped=mapped)
    return conv_p.bind(a, b, call_jaxpr=program, geometry=geometry, which=which, mapped=mapped)


@functools.lru_cache(4096)
def _program(a: Any, b: Any, *, geometry: Geometry, which: Pass, mapped: Mapped) -> ClosedJaxpr:
    """XLA's program of a pass over operands of these types."""
    return jax.make_jaxpr(functools.partial(plain, geometry=geometry, which=which, mapped=mapped))(a, b)


def varying_alike(*operands: Any) -> tuple[Any, ...]:
    """Operands that vary over the same axes of a mesh, as every operation within `shard_map` wants them."""
    varies = [jax.typeof(x).manual_axis_type.varying for x in operands]
    missing = [tuple(sorted(frozenset().union(*varies) - v)) for v in varies]
    return tuple(lax.pcast(x, axes, to="varying") if axes else x for x, axes in zip(operands, missing, strict=True))


@functools.partial(jax.jit, static_argnames=("call_jaxpr", "geometry", "which", "mapped"))
def _jitted(a: Any, b: Any, **params: Any) -> Array:
    return conv_p.bind(a, b, **params)


@conv_p.def_impl
def _eagerly(a: Any, b: Any, **params: Any) -> Array:
    with jax.disable_jit(False):
        return _jitted(a, b, **params)


@conv_p.def_abstract_eval
def _result_type(a: Any, b: Any, *, call_jaxpr: ClosedJaxpr, **what: Any) -> Any:
    (made,) = _program(a, b, **what).out_avals
    return made


def _lower(ctx: Any, a: Any, b: Any, *, call_jaxpr: ClosedJaxpr, **_: Any) -> Any:
    return mlir.lower_fun(jaxpr_as_fun(call_jaxpr), multiple_results=True)(ctx, a, b)


def _lower_for_cpu(ctx: Any, a: Any, b: Any, *, call_jaxpr: ClosedJaxpr, **what: Any) -> Any:
    reason = _against_kernel(ctx, **what)
    trial.log(lambda: f"{what['which']} {what['geometry'].name}: {f'XLA, {reason}' if reason else 'kernel'}")
    if reason is None:
        from cnnjax.kernels.calls import call

        f = functools.partial(call, devices=devices_of(ctx.module_context.axis_context), **what)
    else:
        f = functools.partial(for_cpu, **what)
    # Lowered for operands without a mesh: a transpose taken in `for_cpu` is this device's own, and adds up no other's.
    local = [ShapedArray(aval.shape, aval.dtype) for aval in ctx.avals_in]
    return mlir.lower_fun(f, multiple_results=False)(ctx.replace(avals_in=local), a, b)


def _against_kernel(ctx: Any, *, geometry: Geometry, which: Pass, mapped: Mapped) -> str | None:
    """Why XLA computes a pass that is lowered for a CPU, or None if a kernel does."""
    # A program that is exported runs in another process, which does not have this one's machine code.
    if ctx.module_context.lowering_parameters.for_export:
        return "exported"
    a, b = ctx.avals_in
    copies = max(a.shape[0] if mapped[0] else 1, b.shape[0] if mapped[1] else 1)
    maps, devices = a.shape[mapped[0]], devices_of(ctx.module_context.axis_context)
    parts = shares(maps, devices)
    if parts < devices and copies % devices:
        return f"a batch of {maps} for {devices} devices"
    reason = against_kernel(geometry, which, copies=copies, maps=maps // parts, dtype=a.dtype)
    if reason is None and not trial.ready(devices):
        reason = "no kernels here"
    return reason


def devices_of(axes: Any) -> int:
    """How many devices XLA shares out a program to, or this part of one within `shard_map`.

    `axes` is JAX's own account of it: of one device or several, or of a mesh and the axes along which it is split.
    """
    if hasattr(axes, "num_devices"):
        return axes.num_devices
    if hasattr(axes, "mesh"):
        return math.prod(size for name, size in axes.mesh.shape.items() if name not in axes.manual_axes)
    return 1


mlir.register_lowering(conv_p, _lower)
mlir.register_lowering(conv_p, _lower_for_cpu, platform="cpu")
