"""Copies: operations that hand on every number of one array, in another order, shape or dtype."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import JaxprEqn

IDENTITIES = ("copy", "copy_p", "layout_constraint", "name", "optimization_barrier", "sharding_constraint")
REARRANGED = ("transpose", "reshape", "squeeze", "broadcast_in_dim", "rev", *IDENTITIES)
CONVERTED = ("convert_element_type", "reduce_precision")


def is_copy(eqn: JaxprEqn) -> bool:
    """Whether the result of an equation is a copy of its operand."""
    if eqn.primitive.name not in (*REARRANGED, *CONVERTED) or len(eqn.invars) != 1:
        return False
    # What is broadcast along an axis of one is a copy, and nothing else that is broadcast.
    return math.prod(_aval(eqn.invars[0]).shape) == math.prod(_aval(eqn.outvars[0]).shape)


def converts(eqn: JaxprEqn) -> bool:
    """Whether a copy may have other numbers than the array, by rounding."""
    return eqn.primitive.name in CONVERTED


def way_back(eqn: JaxprEqn) -> Callable[[jax.Array], jax.Array] | None:
    """What makes the array of its copy, to the bit; None where the copy has lost something."""
    before: Any = _aval(eqn.invars[0])
    match eqn.primitive.name:
        case "transpose":
            order = tuple(np.argsort(eqn.params["permutation"]).tolist())
            return lambda copy: jnp.transpose(copy, order)
        case "rev":
            return lambda copy: lax.rev(copy, eqn.params["dimensions"])
        case "convert_element_type":
            after = _aval(eqn.outvars[0]).dtype
            floating = all(jnp.issubdtype(dtype, jnp.floating) for dtype in (before.dtype, after))
            widens = floating and np.promote_types(before.dtype, after) == after
            return (lambda copy: copy.astype(before.dtype)) if widens else None
        case "reshape" | "squeeze" | "broadcast_in_dim":
            return lambda copy: copy.reshape(before.shape)
        case "reduce_precision":
            return None
        case _:
            return lambda copy: copy


def _aval(atom: Any) -> Any:
    return atom.aval
