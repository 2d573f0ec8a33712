"""Lp pooling: the p-norm of each window, between the sum (p = 1) and the maximum (p → ∞) of magnitudes."""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.padding import Padding
from cnnjax.ops.pooling import prepare, window_sizes
from cnnjax.ops.windows import LONGEST_VIEWED, fold, window_views


@checked("p")
def lp_pool(
    x: Num[Array, "batch *space channels"],
    window: int | Sequence[int],
    *,
    p: float | int = 2,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    ceil_mode: bool = False,
) -> Num[Array, "batch *resolution channels"]:
    """Take the p-norm of each window.

    `y[b, i, c] = (Σ_j |x[b, s i + j − before, c]|^p)^(1/p)`: a sum, not a mean, so p = 1 is |window| times the mean
    magnitude. The gradient is `sign(x) (|x| / y)^(p − 1)`, and 0 where the whole window is 0. No power overflows or
    underflows where its root would not: windows are scaled by their largest magnitude.

    With `ceil_mode` a window that reaches beyond the padded map, where it has `|inside|` positions, counts as if the
    rest were like these, as in PyTorch: its sum is multiplied by `|window| / |inside|`.

    x is (batch, length, channels) or (batch, height, width, channels), floating point; sums are taken in float32 at
    least. p is finite and at least 1. window, stride, padding, sizes and errors are those of `avg_pool`.

    Raises InputError for other p; p = ∞ is `max_pool(jnp.abs(x), ...)`.
    Source: Sermanet, Chintala & LeCun 2012, with all weights 1.
    """
    if not 1 <= p < np.inf:
        raise InputError(f"p={p} must be finite and at least 1; p = inf is max_pool(jnp.abs(x), ...).")
    prepared, slides = prepare(x, window, stride, padding, ceil_mode=ceil_mode)
    y = prepared.astype(np.promote_types(x.dtype, np.float32))
    # A norm over the window is a norm over its rows of norms along its rows, and over its parts of norms of the parts.
    for slide in reversed(slides):
        if slide.size <= LONGEST_VIEWED:
            y = _norm(window_views(y, slide, 0.0), float(p))
        else:
            (y,) = fold(
                (y,),
                slide,
                (0.0,),
                lambda parts, axis: (_norm(list(parts), float(p), axis),),
                lambda first, second: (_norm([*first, *second], float(p)),),
            )
    if any(slide.beyond for slide in slides):
        inside = window_sizes(prepared.shape, slides, with_padding=True)
        y = y * ((math.prod(slide.size for slide in slides) / inside) ** (1 / p)).astype(y.dtype)
    return y.astype(x.dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _norm(parts: list[Array], p: float, axis: int | None = None) -> Array:
    """`(Σ_j |v_j|^p)^(1/p)` over the parts, element by element, or over an axis of theirs too."""
    magnitudes = [jnp.abs(part) for part in parts]
    largest = functools.reduce(jnp.maximum, [_over(jnp.max, m, axis) for m in magnitudes])
    scale = jnp.where((largest > 0) & (largest < jnp.inf), largest, jnp.ones((), largest.dtype))
    total = functools.reduce(jnp.add, [_over(jnp.sum, _power(m / _along(scale, axis), p), axis) for m in magnitudes])
    return scale * _power(total, 1 / p)


@_norm.defjvp
def _norm_jvp(
    p: float, axis: int | None, primals: tuple[list[Array]], tangents: tuple[list[Array]]
) -> tuple[Array, Array]:
    (parts,), (moves,) = primals, tangents
    y = _norm(parts, p, axis)
    safe = _along(jnp.where(y > 0, y, jnp.ones((), y.dtype)), axis)
    slopes = [jnp.sign(part) * _power(jnp.abs(part) / safe, p - 1) for part in parts]
    moved = [_over(jnp.sum, slope * move, axis) for slope, move in zip(slopes, moves, strict=True)]
    return y, functools.reduce(jnp.add, moved)


def _over(reduce: Callable[[Array, int], Array], x: Array, axis: int | None) -> Array:
    return x if axis is None else reduce(x, axis)


def _along(x: Array, axis: int | None) -> Array:
    return x if axis is None else jnp.expand_dims(x, axis)


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
