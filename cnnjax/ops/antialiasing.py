"""Anti-aliased pooling: a binomial blur before decimation (Zhang 2019)."""

import functools
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from cnnjax.door import checked
from cnnjax.door.words import in_line
from cnnjax.errors import InputError
from cnnjax.ops.padding import Padding, ResolvedPadding, as_int, fill_border, spatial_shape
from cnnjax.ops.pooling import check_poolable, max_pool, resolve_slides
from cnnjax.ops.windows import window_views


@checked("taps")
def blur_pool(
    x: Num[Array, "batch *space channels"],
    *,
    taps: int = 3,
    stride: int | Sequence[int] = 2,
    padding: Padding = "reflect",
) -> Num[Array, "batch *resolution channels"]:
    """Blur each channel by a binomial filter and take every stride-th position.

    `y[b, i, c] = Σ_j w[j] x[b, s i + j − before, c]` along each axis, `w[j] = C(taps − 1, j) / 2^(taps − 1)`: the
    filters (1, 1) / 2, (1, 2, 1) / 4, (1, 3, 3, 1) / 8 and so on; in the plane the product of two of them.

    With stride 2 and "circular" padding of maps of even size every pixel counts 1/2 along each axis, all its windows
    together, so the mean of the map is kept exactly; with larger strides it is not. "circular", "reflect" and "valid"
    keep a constant map; zeros darken its border.

    x is (batch, length, channels) or (batch, height, width, channels), floating point; the sum is taken in float32 at
    least. taps is 2 to 7, stride an int or one int per axis. Padding and sizes are those of a window of `taps`
    positions, so "circular" and "reflect" give `⌈n / s⌉`.

    Raises InputError for other taps, for a shape or dtype that does not fit, and as `resolve_padding` does.
    Source: Zhang 2019, section 3.2.
    """
    count = as_int(taps)
    if count is None or count not in range(2, 8):
        raise InputError(f"taps={in_line(taps)} must be an int from 2 to 7; 3 is the usual filter (1, 2, 1) / 4.")
    check_poolable(x)
    slides, fill = resolve_slides(spatial_shape(x), count, stride, padding)
    weights = [math.comb(count - 1, j) / 2 ** (count - 1) for j in range(count)]
    y = x.astype(np.promote_types(x.dtype, np.float32))
    # Filtering by slices, forward and gradient, took 2 ms on two CPU cores for 3 taps and stride 2 on 32×32×32×64;
    # a depthwise convolution 240 ms, one of a single channel with the channels in the batch 42 ms.
    for slide in slides:
        if fill != "zero":
            y = fill_border(y, ResolvedPadding(tuple(s.pair if s is slide else (0, 0) for s in slides), fill))
            slide = slide._replace(pair=(0, 0))
        views = window_views(y, slide, 0.0)
        y = functools.reduce(jnp.add, [weight * view for weight, view in zip(weights, views, strict=True)])
    return y.astype(x.dtype)


@checked("taps")
def max_blur_pool(
    x: Num[Array, "batch *space channels"],
    window: int | Sequence[int],
    *,
    taps: int = 3,
    stride: int | Sequence[int] = 2,
    padding: Padding = "reflect",
) -> Num[Array, "batch *resolution channels"]:
    """Take the maximum around every position, then `blur_pool`: max pooling whose decimation is anti-aliased.

    `y = blur_pool(max_pool(x, window, stride=1))`, both padded by `padding`, each for its own window. So "circular" and
    "reflect" halve a map of even size at stride 2, and with "circular" a shift by the stride shifts the result.

    Zhang's own networks take the maximum without padding. For even sizes, a window of 2 and 3 taps, that differs from
    "reflect" here only in the last position of each axis; a window of 3 there begins one pixel later. To have theirs,
    compose the two.

    Arguments and errors are those of `max_pool` and `blur_pool`. Source: Zhang 2019, section 3.2.
    """
    return blur_pool(max_pool(x, window, stride=1, padding=padding), taps=taps, stride=stride, padding=padding)
