"""Adaptive polyphase sampling: of all ways to take every s-th position, the one that the map itself picks."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.padding import per_axis, spatial_shape
from cnnjax.ops.windows import blocks


@checked("order")
def polyphase_pool(
    x: Float[Array, "batch *space channels"],
    *,
    stride: int | Sequence[int] = 2,
    order: float | int = 2,
) -> Float[Array, "batch *resolution channels"]:
    """Take every stride-th position, starting where the samples have the largest norm.

    `y[b, i, c] = x[b, s i + r, c]` with `r = argmax_r ‖x[b, s · + r, ·]‖_order`: r is one of the `∏ s` phases, each
    axis from 0 to s − 1, the norm is over positions and channels, and every image chooses for itself. A circular shift
    of x by any integer permutes the phases and rolls them, so it rolls y, and a mean over y does not see it.

    That is exact where s divides the size of x and one norm is the largest. Of equal norms the first in row-major order
    of r is taken; ties have no equivariant answer. A size that s does not divide is cut to `s ⌊n / s⌋`, so that all
    phases have as many samples; the rows beyond are not read, and shifts are no longer exact.

    x is (batch, length, channels) or (batch, height, width, channels), floating point; stride is an int or one int per
    axis; order is at least 1, up to `math.inf`; powers are summed in float32 at least. The gradient goes to the samples
    taken.

    Raises InputError for another order, a stride larger than the map, and a shape or dtype that does not fit.
    Source: Chaman & Dokmanić 2021.
    """
    return polyphase_pool_with_phase(x, stride=stride, order=order)[0]


@checked("order")
def polyphase_pool_with_phase(
    x: Float[Array, "batch *space channels"],
    *,
    stride: int | Sequence[int] = 2,
    order: float | int = 2,
) -> tuple[Float[Array, "batch *resolution channels"], Int[Array, " batch"]]:
    """Do as `polyphase_pool` does and return the phase of each image too: what `select_phase` and others need.

    The phase is int32 and counts r in row-major order, `r_0 s_1 + r_1` for images. Errors are those of
    `polyphase_pool`.
    """
    if not order >= 1:
        raise InputError(f"order={order} must be at least 1; math.inf compares the largest magnitudes.")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x is {x.dtype}; the norm needs floating point. Convert it with .astype(jnp.float32).")
    parts = blocks(jnp.abs(lax.stop_gradient(x)), _strides(x, stride)).astype(np.promote_types(x.dtype, np.float32))
    within = (*range(1, parts.ndim - 1, 2), parts.ndim - 1)
    largest = parts.max(within)
    if order != math.inf:
        # Powers of magnitudes relative to the image's largest neither overflow nor all vanish.
        scale = largest.max(range(1, largest.ndim)).reshape(x.shape[0], *(1,) * (parts.ndim - 1))
        scale = jnp.where((scale > 0) & (scale < jnp.inf), scale, jnp.ones((), scale.dtype))
        score = ((parts / scale) ** order).sum(within)
    else:
        score = largest
    phase = lax.argmax(score.reshape(x.shape[0], math.prod(_strides(x, stride))), 1, jnp.int32)
    return select_phase(x, phase, stride=stride), phase


@checked()
def polyphase_components(
    x: Shaped[Array, "batch *space channels"], *, stride: int | Sequence[int]
) -> Shaped[Array, "batch phases *resolution channels"]:
    """Take a map apart into its phases, `x_r[b, i, c] = x[b, s i + r, c]`, r in row-major order.

    Each has `⌊n / s⌋` samples along an axis; stride is an int or one int per axis.
    Raises InputError for a stride larger than the map and a shape that does not fit.
    """
    strides = _strides(x, stride)
    parts = jnp.moveaxis(blocks(x, strides), range(2, 2 * len(strides) + 1, 2), range(1, len(strides) + 1))
    return parts.reshape(x.shape[0], math.prod(strides), *parts.shape[len(strides) + 1 :])


@checked()
def select_phase(
    x: Shaped[Array, "batch *space channels"],
    phase: Int[Array, " batch"],
    *,
    stride: int | Sequence[int],
) -> Shaped[Array, "batch *resolution channels"]:
    """Take the given phase of each image: `y[b, i, c] = x[b, s i + r_b, c]`, r_b number phase[b] in row-major order.

    So a shortcut takes the phase that `polyphase_pool_with_phase` chose on the main branch. Sizes and errors are those
    of `polyphase_components`.
    """
    strides = _strides(x, stride)
    if phase.shape != x.shape[:1]:
        raise InputError(
            f"phase has shape {phase.shape}; x of shape {x.shape} needs {x.shape[:1]}, one for each image."
        )
    chosen = phase[:, None] == jnp.arange(math.prod(strides), dtype=phase.dtype)[None]
    chosen = chosen.reshape(x.shape[0], *(size for s in strides for size in (1, s)), 1)
    # A masked sum has a mask for a transpose. On two CPU cores, stride 2 on 32×56×56×64, it took 5 ms and its transpose
    # 1.5; a dynamic slice for each image 2 and 19 ms, `take_along_axis` 3 and 49 ms.
    parts = blocks(x, strides)
    return jnp.where(chosen, parts, jnp.zeros((), x.dtype)).sum(range(2, parts.ndim - 1, 2), dtype=x.dtype)


@checked()
def polyphase_unpool(
    y: Float[Array, "batch *resolution channels"],
    phase: Int[Array, " batch"],
    *,
    stride: int | Sequence[int],
    input_size: int | Sequence[int],
) -> Float[Array, "batch *space channels"]:
    """Put samples back where `select_phase` took them, with zeros elsewhere: its adjoint, and its right inverse.

    `x[b, s i + r_b, c] = y[b, i, c]`; input_size, an int or one int per axis, is the spatial size of x.
    Raises InputError where y is not of the shape that `select_phase` gives on such a map, and as it does.
    """
    input_size = per_axis(input_size, len(spatial_shape(y, name="y")), name="input_size")
    x = jax.ShapeDtypeStruct((y.shape[0], *input_size, y.shape[-1]), y.dtype)

    def forward(x: Array) -> Array:
        return select_phase(x, phase, stride=stride)

    expected = jax.eval_shape(forward, x).shape[1:-1]
    if y.shape[1:-1] != expected:
        raise InputError(
            f"y has spatial size {y.shape[1:-1]}, but stride={stride!r} makes {expected} of input_size={input_size}; "
            "give the size of the map that y came from."
        )
    (unpooled,) = jax.linear_transpose(forward, x)(y)
    return unpooled


def _strides(x: Array, stride: int | Sequence[int]) -> tuple[int, ...]:
    size = spatial_shape(x)
    strides = per_axis(stride, len(size), name="stride")
    if any(s > n for s, n in zip(strides, size, strict=True)):
        raise InputError(f"stride={stride!r} is larger than the map of {size}, which would leave no sample.")
    return strides
