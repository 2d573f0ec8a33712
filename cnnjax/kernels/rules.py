"""How derivatives and `vmap` act on the convolution primitive.

Its three passes are the partial derivatives of one trilinear form T(x, w, d) = Σ d · (x * w). So each is bilinear, and
their transposes are one another: derivatives of every order and mode exist, and each of them is one of the three.
"""

import functools
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr
from jax.interpreters import ad, batching

from cnnjax.kernels.geometry import Geometry, Pass
from cnnjax.kernels.primitive import Mapped, bind, conv_p

_TRANSPOSED: dict[tuple[Pass, int], tuple[Pass, bool]] = {
    ("forward", 0): ("input", True),
    ("forward", 1): ("weights", False),
    ("input", 0): ("forward", True),
    ("input", 1): ("weights", True),
    ("weights", 0): ("input", False),
    ("weights", 1): ("forward", False),
}
"""The transpose of a pass in one operand: a pass, and whether the cotangent is its first operand."""


def _transpose(
    wanted: int,
    cotangent: Any,
    a: Any,
    b: Any,
    *,
    geometry: Geometry,
    which: Pass,
    mapped: Mapped,
    call_jaxpr: ClosedJaxpr,
) -> Array:
    transposed, cotangent_first = _TRANSPOSED[which, wanted]
    known = (a, b)[1 - wanted], mapped[1 - wanted]
    (a, a_mapped), (b, b_mapped) = ((cotangent, any(mapped)), known)[:: 1 if cotangent_first else -1]
    made = bind(a, b, geometry=geometry, which=transposed, mapped=(a_mapped, b_mapped))
    return made.sum(0) if any(mapped) and not mapped[wanted] else made


ad.defbilinear(conv_p, functools.partial(_transpose, 0), functools.partial(_transpose, 1))


def _batch(
    operands: tuple[Any, Any],
    axes: tuple[int | None, int | None],
    *,
    geometry: Geometry,
    which: Pass,
    mapped: Mapped,
    call_jaxpr: ClosedJaxpr,
) -> tuple[Array, int]:
    """More maps where only maps are batched, and otherwise more copies."""
    (a, b), (i, j) = operands, axes
    if which != "weights" and i is not None and j is None:
        a = jnp.moveaxis(a, i, int(mapped[0]))
        made = bind(_merged(a, mapped[0]), b, geometry=geometry, which=which, mapped=mapped)
        return _split(made, any(mapped), a.shape[mapped[0]]), int(any(mapped))
    size = next(x.shape[k] for x, k in zip(operands, axes, strict=True) if k is not None)
    copies = _copies(operands, axes, mapped)
    a, b = (
        _copied(x, k, m, size, copies) if k is not None or m else x
        for x, k, m in zip(operands, axes, mapped, strict=True)
    )
    both = tuple(k is not None or m for k, m in zip(axes, mapped, strict=True))
    made = bind(a, b, geometry=geometry, which=which, mapped=(both[0], both[1]))
    return (made if copies is None else _split(made, False, size)), 0


batching.primitive_batchers[conv_p] = _batch


def _copies(operands: tuple[Any, Any], axes: tuple[int | None, int | None], mapped: Mapped) -> int | None:
    """How many copies there are before the operands are batched."""
    for x, k, m in zip(operands, axes, mapped, strict=True):
        if m:
            return x.shape[1 if k == 0 else 0]
    return None


def _copied(x: Any, axis: int | None, mapped: bool, size: int, copies: int | None) -> Array:
    """An operand with a first axis for all of the batch and, in each, all of the copies."""
    x = jnp.broadcast_to(x[None], (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
    if copies is None:
        return x
    if not mapped:
        x = jnp.broadcast_to(x[:, None], (size, copies, *x.shape[1:]))
    return _merged(x, False)


def _merged(x: Array, axis: int) -> Array:
    """Two axes, of which this is the first, as one."""
    return x.reshape(*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :])


def _split(x: Array, axis: int, first: int) -> Array:
    """One axis as two, the first of this size."""
    return x.reshape(*x.shape[:axis], first, x.shape[axis] // first, *x.shape[axis + 1 :])
