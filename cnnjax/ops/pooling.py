"""Pooling: the maximum or the mean of each window."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Num

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.padding import (
    Fill,
    Padding,
    ResolvedPadding,
    beyond,
    fill_border,
    per_axis,
    resolve_padding,
    spatial_shape,
)
from cnnjax.ops.windows import Parts, Slide, blocks, first_maximum, fold, reduce_window


@checked()
def max_pool(
    x: Num[Array, "batch *space channels"],
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Num[Array, "batch *resolution channels"]:
    """Take the maximum of each window.

    `y[b, i, c] = max_j x[b, s i + d j − before, c]`; where other paddings put a zero there is −∞ here, so it never
    wins.

    x is (batch, length, channels) or (batch, height, width, channels), floating point. window, stride and dilation are
    an int or one int per axis; without a stride, it is the window. Sizes follow `output_size`: rows at the end that
    fill no window are not read, unless by `ceil_mode`. The gradient goes to the first of equal maxima, in row-major
    order, and never into padding. NaN is the maximum.

    Raises InputError for a shape or dtype that does not fit, for a window of nothing but padding, and as
    `resolve_padding` does. Source: Dumoulin & Visin 2016, section 3.
    """
    x, slides = prepare(x, window, stride, padding, dilation=dilation, ceil_mode=ceil_mode)
    check_occupied(x.shape, slides, padding)
    if all(s.size in (s.stride, x.shape[s.axis]) and s[3:] == ((0, 0), 1, 0) for s in slides):
        return _max_of_blocks(x, tuple(slide.size for slide in slides))
    # The last axis first: of equal maxima the first in the row, then the first row, is the first in row-major order.
    for slide in reversed(slides):
        x = _max_along(x, slide)
    return x


@checked()
def avg_pool(
    x: Num[Array, "batch *space channels"],
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Num[Array, "batch *resolution channels"]:
    """Take the mean of each window.

    `y[b, i, c] = (1 / |window|) Σ_j x[b, s i + j − before, c]`: a convolution whose weights are all `1 / |window|`, for
    which zeros of the padding count. With count_include_pad=False the mean is over the positions on the map only. A
    border that continues the map always counts, and what `ceil_mode` reaches beyond the padded map never does.

    x is (batch, length, channels) or (batch, height, width, channels), floating point; the sum is taken in float32 at
    least. window and stride are an int or one int per axis; without a stride the windows do not overlap. Sizes follow
    `output_size`: rows at the end that fill no window are not read, unless by `ceil_mode`.

    Raises InputError for a shape or dtype that does not fit, for a window of nothing but padding where that does not
    count, and as `resolve_padding` does. Source: Dumoulin & Visin 2016, section 3.
    """
    x, slides = prepare(x, window, stride, padding, ceil_mode=ceil_mode)
    if not count_include_pad:
        check_occupied(x.shape, slides, padding)
    # In bfloat16 a running sum stops growing after some 256 equal terms.
    total = x.astype(np.promote_types(x.dtype, np.float32))
    if all(slide.size <= _LONGEST_SUMMED for slide in slides):
        total = reduce_window(total, slides, 0.0, lax.add)
    else:
        for slide in slides:
            (total,) = fold((total,), slide, (0.0,), _sum_along, _sum_of_both)
    counts = window_sizes(x.shape, slides, with_padding=count_include_pad)
    return (total / (counts.flat[0] if len(np.unique(counts)) == 1 else counts).astype(total.dtype)).astype(x.dtype)


# XLA adds up whole windows, and again for the gradient. Forward and gradient, 8×64×64×32 on one CPU core, that way and
# folded: 16×16/1 280 and 8 ms, 16×16/4 180 and 2, 32×32/4 870 and 2.
_LONGEST_SUMMED = 8


def _sum_along(parts: Parts, axis: int) -> Parts:
    return (jnp.sum(parts[0], axis),)


def _sum_of_both(first: Parts, second: Parts) -> Parts:
    return (first[0] + second[0],)


def window_sizes(shape: tuple[int, ...], slides: Sequence[Slide], *, with_padding: bool) -> np.ndarray:
    """Of each window the positions that count: on the map, or on the padded map."""
    counts = np.ones((1,) * len(shape))
    for slide in slides:
        inside = slide.inside(shape[slide.axis], pair=slide.pair if with_padding else (0, 0))
        counts = counts * np.expand_dims(inside, [axis for axis in range(len(shape)) if axis != slide.axis])
    return counts


@checked()
def global_max_pool(x: Num[Array, "batch *space channels"]) -> Num[Array, "batch channels"]:
    """Take the maximum of each whole map: `y[b, c] = max_i x[b, i, c]`, with ties and errors as in `max_pool`."""
    return max_pool(x, spatial_shape(x)).reshape(x.shape[0], x.shape[-1])


@checked()
def global_avg_pool(x: Num[Array, "batch *space channels"]) -> Num[Array, "batch channels"]:
    """Take the mean of each whole map: `y[b, c] = mean_i x[b, i, c]`, with errors as in `avg_pool`."""
    return avg_pool(x, spatial_shape(x)).reshape(x.shape[0], x.shape[-1])


def prepare(
    x: Array,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: Padding,
    *,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> tuple[Array, list[Slide]]:
    """Check the arguments, extend `x` where the border has content, and leave the padding that has none."""
    check_poolable(x)
    slides, fill = resolve_slides(spatial_shape(x), window, stride, padding, dilation=dilation, ceil_mode=ceil_mode)
    if fill == "zero":
        return x, slides
    pairs = tuple(slide.pair for slide in slides)
    return fill_border(x, ResolvedPadding(pairs, fill)), [slide._replace(pair=(0, 0)) for slide in slides]


def check_poolable(x: Array) -> None:
    """Raise InputError for a map of another rank or dtype."""
    spatial_shape(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x is {x.dtype}; pooling needs floating point. Decode uint8 images to float in [0, 1] first.")


def resolve_slides(
    input_size: tuple[int, ...],
    window: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: Padding,
    *,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> tuple[list[Slide], Fill]:
    """Check the arguments; the windows along each spatial axis, and what fills the border."""
    rank = len(input_size)
    window = per_axis(window, rank, name="window")
    stride = window if stride is None else per_axis(stride, rank, name="stride")
    dilation = per_axis(dilation, rank, name="dilation")
    pairs, fill = resolve_padding(
        padding, kernel_size=window, input_size=input_size, stride=stride, dilation=dilation, ceil_mode=ceil_mode
    )
    slides = []
    for axis, (n, k, s, pair, d) in enumerate(zip(input_size, window, stride, pairs, dilation, strict=True), start=1):
        slide = Slide(axis, k, s, pair, d)
        if ceil_mode:
            slide = slide._replace(beyond=beyond(n, slide.span, slide.stride, slide.pair))
        # No program is made for a stride far beyond the map, where a single window has no next one.
        slides.append(slide._replace(stride=min(slide.stride, n + sum(slide.pair) + slide.beyond)))
    return slides, fill


def check_occupied(shape: tuple[int, ...], slides: Sequence[Slide], padding: Padding) -> None:
    """Refuse windows that lie in the padding altogether."""
    for slide in slides:
        # Padding as wide as the window is refused before the windows are counted: there may be billions.
        if max(slide.pair) >= slide.span or not slide.inside(shape[slide.axis]).all():
            size = f"{slide.size}" + (f" with dilation {slide.dilation}" if slide.dilation > 1 else "")
            raise InputError(
                f"padding={padding!r} makes a window of {size} out of nothing but padding, which has no maximum and no "
                "mean. Pad less than the window size."
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
# Both axes at once, a view for each of nine places, took 1.4 to 2 times as long. The program is the same on every
# platform: XLA's own rule sends part of the gradient into the padding, and past NaN.
@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max_along(x: Array, slide: Slide) -> Array:
    return reduce_window(x, [slide], -jnp.inf, lax.max)


@_max_along.defjvp
def _max_along_jvp(slide: Slide, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """Pick the tangent of the first maximum in each window, as `_max_of_blocks_jvp` does."""
    return jax.jvp(lambda x: first_maximum(x, slide)[0], primals, tangents)
