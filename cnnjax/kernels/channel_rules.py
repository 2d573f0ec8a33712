"""How derivatives and `vmap` act on the functions of `channels`."""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr, Primitive
from jax.interpreters import ad, batching

from cnnjax.kernels.channels import bind, moments_p, scale_and_shift, scale_and_shift_p, sums, sums_p

Operands = Sequence[Any]


def _derive_sums(primals: Operands, tangents: Operands, *, call_jaxpr: ClosedJaxpr) -> tuple[Any, Any]:
    (a, b, centre), (da, db, dcentre) = primals, tangents
    made = plain, _ = sums(a, b, centre)
    moved, terms = jnp.zeros_like(plain), []
    if not isinstance(da, ad.Zero):
        moved, products = sums(da, b, centre)
        terms.append(products)
    if not isinstance(db, ad.Zero):
        terms.append(sums(db, a, jnp.zeros_like(centre))[1])
    if not isinstance(dcentre, ad.Zero):
        terms.append(-plain * dcentre)
    return made, [moved, functools.reduce(jnp.add, terms)]


def _derive_moments(primals: Operands, tangents: Operands, *, call_jaxpr: ClosedJaxpr) -> tuple[Any, Any]:
    """Deviations add up to zero, so the derivative of the mean has no part in that of the variance."""
    (x,), (dx,) = primals, tangents
    made = mean, _ = bind(moments_p, x)
    plain, products = sums(dx, x, mean)
    return made, [plain / x.shape[1], 2 * products / x.shape[1]]


def _derive_scale_and_shift(primals: Operands, tangents: Operands, *, call_jaxpr: ClosedJaxpr) -> tuple[Any, Any]:
    x, centre, scale, _ = primals
    dx, dcentre, dscale, dshift = tangents
    terms = [] if isinstance(dx, ad.Zero) else [scale[:, None] * dx]
    moves = [] if isinstance(dshift, ad.Zero) else [dshift]
    moves += [] if isinstance(dcentre, ad.Zero) else [-scale * dcentre]
    if moves or not isinstance(dscale, ad.Zero):
        dscale = jnp.zeros_like(scale) if isinstance(dscale, ad.Zero) else dscale
        terms.append(scale_and_shift(x, centre, dscale, functools.reduce(jnp.add, moves or [jnp.zeros_like(dscale)])))
    return bind(scale_and_shift_p, *primals), [functools.reduce(jnp.add, terms)]


def _transpose_sums(cotangents: Operands, a: Any, b: Any, centre: Any, *, call_jaxpr: ClosedJaxpr) -> tuple:
    """Sums are linear in their first operand; the rules above make no others of tangents."""
    plain, products = map(ad.instantiate_zeros, cotangents)
    return _like(a.aval, scale_and_shift(b, centre, products, plain)), None, None


def _transpose_scale_and_shift(
    cotangents: Operands, x: Any, centre: Any, scale: Any, shift: Any, *, call_jaxpr: ClosedJaxpr
) -> tuple:
    """In scale and shift together."""
    made = sums(ad.instantiate_zeros(cotangents[0]), x, centre)
    of_shift, of_scale = (
        _like(operand.aval, one) if ad.is_undefined_primal(operand) else None
        for operand, one in zip((shift, scale), made, strict=True)
    )
    return None, None, of_scale, of_shift


def _like(aval: Any, made: Array) -> Array:
    """The cotangent of an operand, which may be one that all copies share."""
    return made.sum(0, keepdims=True) if aval.shape[0] < made.shape[0] else made


def _batch(
    primitive: Primitive, operands: Operands, axes: Sequence[int | None], *, call_jaxpr: ClosedJaxpr
) -> tuple[list[Array], list[int]]:
    """A batch is more copies."""
    size = next(x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)
    firsts = [x if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(operands, axes, strict=True)]
    copies = max(x.shape[0 if axis is None else 1] for x, axis in zip(firsts, axes, strict=True))

    def merged(x: Array, axis: int | None) -> Array:
        if axis is None:
            if x.shape[0] == 1:
                return x
            x = jnp.broadcast_to(x, (size, *x.shape))
        x = jnp.broadcast_to(x, (size, copies, *x.shape[2:]))
        return x.reshape(size * copies, *x.shape[2:])

    made = bind(primitive, *map(merged, firsts, axes))
    return [x.reshape(size, copies, *x.shape[1:]) for x in made], [0] * len(made)


ad.primitive_jvps[sums_p] = _derive_sums
ad.primitive_jvps[moments_p] = _derive_moments
ad.primitive_jvps[scale_and_shift_p] = _derive_scale_and_shift
ad.primitive_transposes[sums_p] = _transpose_sums
ad.primitive_transposes[scale_and_shift_p] = _transpose_scale_and_shift
for _primitive in (sums_p, moments_p, scale_and_shift_p):
    batching.primitive_batchers[_primitive] = functools.partial(_batch, _primitive)
