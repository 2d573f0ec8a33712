"""Matrix products and attention."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from cnnjax.layers.precision import at_least_float32
from cnnjax.models.bridge.laid import Laid, elementwise, in_order, like_first

Number = int | float


def _linear(x: Laid, weight: Laid, bias: Laid | None = None) -> Laid:
    """The last of PyTorch's axes is multiplied away, wherever it lies; its results lie last."""
    place = x.place(-1)
    y = lax.dot_general(x.array, in_order(weight), (((place,), (1,)), ((), ())))
    axes = (*(axis for axis in x.axes if axis != x.ndim - 1), x.ndim - 1)
    return Laid(y, axes) if bias is None else elementwise(jnp.add, Laid(y, axes), bias)


@like_first
def _matmul(x: Array, y: Array) -> Array:
    return jnp.matmul(x, y)


@like_first
def _addmm(bias: Array, x: Array, y: Array, *, beta: Number = 1, alpha: Number = 1) -> Array:
    product = jnp.matmul(x, y)
    product = product if alpha == 1 else alpha * product
    bias = jnp.broadcast_to(bias, product.shape)
    return product + (bias if beta == 1 else beta * bias)


@like_first
def _einsum(equation: str, arrays: Sequence[Array], *, path: Any = None) -> Array:
    return jnp.einsum(equation, *arrays)


@like_first
def _outer(x: Array, y: Array) -> Array:
    return jnp.outer(x, y)


def _attention(
    query: Laid,
    key: Laid,
    value: Laid,
    attn_mask: Laid | None = None,
    dropout_p: Number = 0,
    is_causal: bool = False,
    *,
    scale: Number | None = None,
    enable_gqa: bool = False,
) -> Laid:
    q, k, v = map(in_order, (query, key, value))
    if enable_gqa:
        k, v = (jnp.repeat(a, q.shape[-3] // a.shape[-3], -3) for a in (k, v))
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = jnp.matmul(q * scale, jnp.swapaxes(k, -1, -2))
    scores = Laid(scores, tuple(range(scores.ndim))).to(at_least_float32(scores.dtype))
    if is_causal:
        allowed = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        attn_mask = Laid(allowed, (0, 1))
    if attn_mask is not None:
        if attn_mask.dtype == jnp.bool_:
            scores = elementwise(lambda s, m: jnp.where(m, s, -jnp.inf), scores, attn_mask)
        else:
            scores = elementwise(jnp.add, scores, attn_mask.to(scores.dtype))
    weights = jax.nn.softmax(scores.array, -1).astype(v.dtype)
    y = jnp.matmul(weights, v)
    return Laid(y, tuple(range(y.ndim)))


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "aten.linear.default": _linear,
    **{f"aten.{name}.default": _matmul for name in ("matmul", "mm", "bmm", "mv", "dot")},
    **{f"aten.{name}.default": _addmm for name in ("addmm", "baddbmm")},
    "aten.einsum.default": _einsum,
    "aten.outer.default": _outer,
    "aten.scaled_dot_product_attention.default": _attention,
}
