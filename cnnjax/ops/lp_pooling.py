"""Lp pooling: the p-norm of each window, between the sum (p = 1) and the maximum (p → ∞) of magnitudes."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.padding import Padding
from cnnjax.ops.pooling import prepare
from cnnjax.ops.windows import window_views


@checked("p")
def lp_pool(
    x: Num[Array, "batch *space channels"],
    window: int | Sequence[int],
    *,
    p: float | int = 2,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
) -> Num[Array, "batch *resolution channels"]:
    """Take the p-norm of each window.

    `y[b, i, c] = (Σ_j |x[b, s i + j − before, c]|^p)^(1/p)`: a sum, not a mean, so p = 1 is |window| times the mean
    magnitude. The gradient is `sign(x) (|x| / y)^(p − 1)`, and 0 where the whole window is 0. No power overflows or
    underflows where its root would not: windows are scaled by their largest magnitude.

    x is (batch, length, channels) or (batch, height, width, channels), floating point; sums are taken in float32 at
    least. p is finite and at least 1. window, stride, padding, sizes and errors are those of `avg_pool`.

    Raises InputError for other p; p = ∞ is `max_pool(jnp.abs(x), ...)`.
    Source: Sermanet, Chintala & LeCun 2012, with all weights 1.
    """
    if not 1 <= p < np.inf:
        raise InputError(f"p={p} must be finite and at least 1; p = inf is max_pool(jnp.abs(x), ...).")
    prepared, window, stride, pairs = prepare(x, window, stride, padding)
    y = prepared.astype(np.promote_types(x.dtype, np.float32))
    # A norm over the window is a norm over its rows of norms along its rows.
    for axis in reversed(range(len(window))):
        y = _norm(window_views(y, axis + 1, window[axis], stride[axis], pairs[axis], 0.0), float(p))
    return y.astype(x.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _norm(views: list[Array], p: float) -> Array:
    """`(Σ_j |v_j|^p)^(1/p)`, element by element."""
    magnitudes = [jnp.abs(view) for view in views]
    largest = functools.reduce(jnp.maximum, magnitudes)
    scale = jnp.where((largest > 0) & (largest < jnp.inf), largest, jnp.ones((), largest.dtype))
    return scale * _power(functools.reduce(jnp.add, [_power(m / scale, p) for m in magnitudes]), 1 / p)


@_norm.defjvp
def _norm_jvp(p: float, primals: tuple[list[Array]], tangents: tuple[list[Array]]) -> tuple[Array, Array]:
    (views,), (moves,) = primals, tangents
    y = _norm(views, p)
    safe = jnp.where(y > 0, y, jnp.ones((), y.dtype))
    slopes = [jnp.sign(view) * _power(jnp.abs(view) / safe, p - 1) for view in views]
    return y, functools.reduce(jnp.add, [slope * move for slope, move in zip(slopes, moves, strict=True)])


def _power(x: Array, exponent: float) -> Array:
    """`x ** exponent`, sparing the two usual powers the logarithm."""
    match exponent:
        case 0.5:
            return jnp.sqrt(x)
        case 1.0:
            return x
        case 2.0:
            return x * x
        case _:
            return x**exponent
