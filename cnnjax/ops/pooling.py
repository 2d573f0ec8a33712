"""Pooling: the maximum or the mean of each window."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Num

from cnnjax.errors import InputError
from cnnjax.ops.padding import Padding, fill_border, per_axis, resolve_padding, spatial_shape


def max_pool(
    x: Num[Array, "batch *space channels"],
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
) -> Num[Array, "batch *resolution channels"]:
    """Take the maximum of each window.

    `y[b, i, c] = max_j x[b, s i + j − before, c]`; where other paddings put a zero there is −∞ here, so it never wins.

    x is (batch, length, channels) or (batch, height, width, channels), floating point. window and stride are an int or
    one int per axis; without a stride the windows do not overlap. Sizes follow `output_size`: rows at the end that fill
    no window are not read. The gradient goes to the first of equal maxima, in row-major order. NaN is the maximum.

    Raises InputError for a shape or dtype that does not fit, for padding as wide as the window, and as
    `resolve_padding` does. Source: Dumoulin & Visin 2016, section 3.
    """
    x, window, stride, pairs = _prepare(x, window, stride, padding)
    if any(max(pair) >= k for pair, k in zip(pairs, window, strict=True)):
        raise InputError(
            f"padding={padding!r} is as wide as the window {window}; a window of nothing but padding has no maximum. "
            "Pad less than the window size."
        )
    if stride == window and not any(sum(pair) for pair in pairs):
        return _max_of_blocks(x, window)
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *stride, 1), ((0, 0), *pairs, (0, 0)))


def avg_pool(
    x: Num[Array, "batch *space channels"],
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
) -> Num[Array, "batch *resolution channels"]:
    """Take the mean of each window, in which zeros of the padding count.

    `y[b, i, c] = (1 / |window|) Σ_j x[b, s i + j − before, c]`: a convolution whose weights are all `1 / |window|`.

    x is (batch, length, channels) or (batch, height, width, channels), floating point; the sum is taken in float32 at
    least. window and stride are an int or one int per axis; without a stride the windows do not overlap. Sizes follow
    `output_size`: rows at the end that fill no window are not read.

    Raises InputError for a shape or dtype that does not fit, and as `resolve_padding` does.
    Source: Dumoulin & Visin 2016, section 3.
    """
    x, window, stride, pairs = _prepare(x, window, stride, padding)
    # In bfloat16 a running sum stops growing after some 256 equal terms.
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    total = lax.reduce_window(wide, 0.0, lax.add, (1, *window, 1), (1, *stride, 1), ((0, 0), *pairs, (0, 0)))
    return (total / math.prod(window)).astype(x.dtype)


def global_max_pool(x: Num[Array, "batch *space channels"]) -> Num[Array, "batch channels"]:
    """Take the maximum of each whole map: `y[b, c] = max_i x[b, i, c]`, with ties and errors as in `max_pool`."""
    return max_pool(x, spatial_shape(x)).reshape(x.shape[0], x.shape[-1])


def global_avg_pool(x: Num[Array, "batch *space channels"]) -> Num[Array, "batch channels"]:
    """Take the mean of each whole map: `y[b, c] = mean_i x[b, i, c]`, with errors as in `avg_pool`."""
    return avg_pool(x, spatial_shape(x)).reshape(x.shape[0], x.shape[-1])


def _prepare(
    x: Array, window: int | Sequence[int], stride: int | Sequence[int] | None, padding: Padding
) -> tuple[Array, tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Check the arguments, extend `x` where the border has content, and leave the padding that has none."""
    input_size = spatial_shape(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x is {x.dtype}; pooling needs floating point. Decode uint8 images to float in [0, 1] first.")
    rank = len(input_size)
    window = per_axis(window, rank, name="window")
    stride = window if stride is None else per_axis(stride, rank, name="stride")
    resolved = resolve_padding(padding, kernel_size=window, input_size=input_size, stride=stride, dilation=(1,) * rank)
    if resolved.fill == "zero":
        return x, window, stride, resolved.pairs
    return fill_border(x, resolved), window, stride, ((0, 0),) * rank


# XLA derives max pooling by select_and_scatter, which the CPU runs element by element: forward and gradient of 2×2 on
# 128×32×32×32 took 92 ms, with the mask below 6 ms; 66 → 4 ms for 3×3, 8 → 0.5 ms for 8×8. The alternatives: positions
# held as int32 8 ms, as floats 15 ms; one slice per position 3 ms for 2×2, but 38 ms for 8×8.
@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max_of_blocks(x: Array, window: tuple[int, ...]) -> Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *window, 1), "VALID")


@_max_of_blocks.defjvp
def _max_of_blocks_jvp(window: tuple[int, ...], primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """Pick the tangent of the first maximum in each block: linear in the tangent, so its transpose is the gradient."""
    (x,), (tangent,) = primals, tangents
    y = _max_of_blocks(x, window)
    inner = tuple(range(2, 2 * len(window) + 1, 2))

    def blocks(a: Array) -> Array:
        whole = tuple(slice(n * k) for n, k in zip(y.shape[1:-1], window, strict=True))
        split = (size for n, k in zip(y.shape[1:-1], window, strict=True) for size in (n, k))
        return a[:, *whole].reshape(a.shape[0], *split, a.shape[-1])

    count = math.prod(window)
    place = np.arange(count, dtype=np.min_scalar_type(count))
    place = place.reshape(1, *(size for k in window for size in (1, k)), 1)
    values = blocks(x)
    is_max = (values == jnp.expand_dims(y, inner)) | jnp.isnan(values)
    first = jnp.min(jnp.where(is_max, place, place.dtype.type(count)), axis=inner, keepdims=True)
    chosen = jnp.where(first == place, blocks(tangent), jnp.zeros((), x.dtype))
    return y, jnp.sum(chosen, axis=inner)
