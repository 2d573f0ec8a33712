"""A kernel's call that XLA shares out to devices along its first two axes, shares and copies, and gathers neither.

XLA's partitioners know a custom call by its name only, and gather its operands. Two marks tell them better: the target
is registered as batch partitionable, with the number of such axes as an attribute, for the step that splits the
program; a rule of Shardy's, for the step before it, which finds out along which axes every array is split.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax import Array
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.extend.mlir import ir
from jax.interpreters import mlir

_AXES = 2
"""How many axes lead every operand and every result: shares, which `shares` counts, and copies."""

_call_p = Primitive("cnnjax_shared_call")
_call_p.multiple_results = True


def shares(maps: int, devices: int) -> int:
    """Into how many parts of equal size a batch of so many maps is cut for so many devices."""
    return math.gcd(maps, devices)


def called(name: str, made: Sequence[jax.ShapeDtypeStruct], *operands: Array, devices: int) -> list[Array]:
    """The results, of these types, of a kernel over operands (shares, copies, ...); for lowering on a CPU only."""
    if devices == 1:
        return list(jax.ffi.ffi_call(name, made)(*operands))
    return _call_p.bind(*operands, name=name, made=tuple((m.shape, m.dtype) for m in made))


@_call_p.def_abstract_eval
def _result_types(*_: Any, name: str, made: tuple[tuple[tuple[int, ...], Any], ...]) -> list[Any]:
    return [ShapedArray(shape, dtype) for shape, dtype in made]


def _lower(ctx: Any, *operands: Any, name: str, made: Any) -> Any:
    marks = {"mhlo.frontend_attributes": ir.Attribute.parse(f'{{num_batch_dims = "{_AXES}"}}')}
    if getattr(jax.config, "jax_use_shardy_partitioner", True):  # else XLA's older step finds out by the first mark
        shapes = [[aval.shape for aval in avals] for avals in (ctx.avals_in, ctx.avals_out)]
        marks["sdy.sharding_rule"] = ir.Attribute.parse(_rule(*shapes))
    return jax.ffi.ffi_lowering(name, extra_attributes=marks)(ctx, *operands)


mlir.register_lowering(_call_p, _lower, platform="cpu")


def _rule(operands: Sequence[tuple[int, ...]], results: Sequence[tuple[int, ...]]) -> str:
    """Shardy's rule: the first axes of all arrays are split alike, and every other axis is its own."""
    factors, sizes = _factors(), dict[str, int]()
    common = list(itertools.islice(factors, _AXES))

    def mapping(shape: tuple[int, ...]) -> str:
        names = [*common, *itertools.islice(factors, len(shape) - _AXES)]
        sizes.update(zip(names, shape, strict=True))
        return f"[{', '.join(names)}]"

    read, written = (", ".join(map(mapping, shapes)) for shapes in (operands, results))
    lengths = ", ".join(f"{name}={size}" for name, size in sizes.items())
    return f"#sdy.op_sharding_rule<({read})->({written}) {{{lengths}}}, custom>"


def _factors() -> Iterator[str]:
    """Names of factors, in Shardy's order: i to z, then z_1, z_2, …"""
    yield from "ijklmnopqrstuvwxyz"
    yield from (f"z_{k}" for k in itertools.count(1))


def hindrance() -> str | None:
    """What keeps this version of JAX from sharing a call out, if anything. Nothing is compiled."""
    if not hasattr(jax.ffi, "register_ffi_target_as_batch_partitionable"):
        return "this version of JAX cannot share a call out to devices"
    one = jax.ShapeDtypeStruct((1, 1, 1), "float32")
    try:
        jax.jit(lambda a: called("cnnjax_untaken", [one], a, devices=2)).trace(one).lower(lowering_platforms=("cpu",))
    except Exception as error:  # whatever another version says to marks that it does not know
        return f"this version of JAX shares calls out to devices in another way ({error})"
    return None
