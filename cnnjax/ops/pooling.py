"""Pooling: the maximum or the mean of each window."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Num

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.padding import Padding, ResolvedPadding, fill_border, per_axis, resolve_padding, spatial_shape
from cnnjax.ops.windows import at_place, blocks, first_maximum, window_views


@checked()
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
    x, window, stride, pairs = prepare(x, window, stride, padding)
    check_maxima(padding, window, pairs)
    if stride == window and not any(sum(pair) for pair in pairs):
        return _max_of_blocks(x, window)
    if jax.default_backend() != "cpu":  # where nobody has measured what is below, and the compiler's rule is in use
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *stride, 1), ((0, 0), *pairs, (0, 0)))
    # The last axis first: of equal maxima the first in the row, then the first row, is the first in row-major order.
    for axis in reversed(range(len(window))):
        along = _max_along if window[axis] <= _LONGEST_VIEWED else _largest_along
        x = along(x, axis + 1, window[axis], stride[axis], pairs[axis])
    return x


@checked()
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
    x, window, stride, pairs = prepare(x, window, stride, padding)
    # In bfloat16 a running sum stops growing after some 256 equal terms.
    wide = x.astype(np.promote_types(x.dtype, np.float32))
    total = lax.reduce_window(wide, 0.0, lax.add, (1, *window, 1), (1, *stride, 1), ((0, 0), *pairs, (0, 0)))
    return (total / math.prod(window)).astype(x.dtype)


@checked()
def global_max_pool(x: Num[Array, "batch *space channels"]) -> Num[Array, "batch channels"]:
    """Take the maximum of each whole map: `y[b, c] = max_i x[b, i, c]`, with ties and errors as in `max_pool`."""
    return max_pool(x, spatial_shape(x)).reshape(x.shape[0], x.shape[-1])


@checked()
def global_avg_pool(x: Num[Array, "batch *space channels"]) -> Num[Array, "batch channels"]:
    """Take the mean of each whole map: `y[b, c] = mean_i x[b, i, c]`, with errors as in `avg_pool`."""
    return avg_pool(x, spatial_shape(x)).reshape(x.shape[0], x.shape[-1])


def prepare(
    x: Array, window: int | Sequence[int], stride: int | Sequence[int] | None, padding: Padding
) -> tuple[Array, tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Check the arguments, extend `x` where the border has content, and leave the padding that has none."""
    window, stride, resolved = resolve_windows(x, window, stride, padding)
    if resolved.fill == "zero":
        return x, window, stride, resolved.pairs
    return fill_border(x, resolved), window, stride, ((0, 0),) * len(window)


def resolve_windows(
    x: Array, window: int | Sequence[int], stride: int | Sequence[int] | None, padding: Padding
) -> tuple[tuple[int, ...], tuple[int, ...], ResolvedPadding]:
    """Check the arguments; window, stride and padding for each axis."""
    input_size = spatial_shape(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x is {x.dtype}; pooling needs floating point. Decode uint8 images to float in [0, 1] first.")
    rank = len(input_size)
    window = per_axis(window, rank, name="window")
    stride = window if stride is None else per_axis(stride, rank, name="stride")
    resolved = resolve_padding(padding, kernel_size=window, input_size=input_size, stride=stride, dilation=(1,) * rank)
    return window, stride, resolved


def check_maxima(padding: Padding, window: tuple[int, ...], pairs: tuple[tuple[int, int], ...]) -> None:
    """Refuse windows that could lie in the padding altogether."""
    if any(max(pair) >= k for pair, k in zip(pairs, window, strict=True)):
        raise InputError(
            f"padding={padding!r} is as wide as the window {window}; a window of nothing but padding has no maximum. "
            "Pad less than the window size."
        )


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
    count = math.prod(window)
    place = np.arange(count, dtype=np.min_scalar_type(count))
    place = place.reshape(1, *(size for k in window for size in (1, k)), 1)
    values = blocks(x, window)
    is_max = (values == jnp.expand_dims(y, inner)) | jnp.isnan(values)
    first = jnp.min(jnp.where(is_max, place, place.dtype.type(count)), axis=inner, keepdims=True)
    chosen = jnp.where(first == place, blocks(tangent, window), jnp.zeros((), x.dtype))
    return y, jnp.sum(chosen, axis=inner)


# Windows that overlap or are padded: forward and gradient, float32, on two busy CPU cores, medians of 15 interleaved
# with select_and_scatter and PyTorch 2.13 (channels last). Spread about 2 each way; bfloat16 and float64 gain 2 to 4.
#   3×3/2, 32×55×55×64   508 → 41 ms, PyTorch 76      3×3/2, 64×32×32×32               52 →   9 ms, PyTorch 36
#   3×3/2, 64×27×27×192  755 → 62 ms, PyTorch 72      3×3/1, 32×28×28×64, padded by 1 180 →  19 ms, PyTorch 24
#   3×3/2, 128×13×13×256 377 → 36 ms, PyTorch 62      3×3/2, 16×112×112×64, by 1      857 → 141 ms, PyTorch 67
# Both axes at once, a view for each of nine places, took 1.4 to 2 times as long. A longer window has more views to
# compile: 1 s at 32 along both axes (run time 46 → 9 ms against select_and_scatter along each axis), 2 s at 64 (40 →
# 7 ms), 4 s at 128 (36 → 48 ms).
_LONGEST_VIEWED = 32


def _largest_along(x: Array, axis: int, window: int, stride: int, pair: tuple[int, int]) -> Array:
    def at_axis(value: Any, elsewhere: Any) -> tuple[Any, ...]:
        return tuple(value if a == axis else elsewhere for a in range(x.ndim))

    return lax.reduce_window(x, -jnp.inf, lax.max, at_axis(window, 1), at_axis(stride, 1), at_axis(pair, (0, 0)))


_max_along = jax.custom_jvp(_largest_along, nondiff_argnums=(1, 2, 3, 4))


@_max_along.defjvp
def _max_along_jvp(
    axis: int, window: int, stride: int, pair: tuple[int, int], primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    """Pick the tangent of the first maximum in each window, as `_max_of_blocks_jvp` does."""
    (x,), (tangent,) = primals, tangents
    y, place = first_maximum(x, axis, window, stride, pair)
    return y, at_place(window_views(tangent, axis, window, stride, pair, 0.0), place)
