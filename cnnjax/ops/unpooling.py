"""Unpooling: a pooled map put back on the positions that it came from."""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.padding import PAD_MODES, Fill, Padding, per_axis, spatial_shape
from cnnjax.ops.pooling import avg_pool, check_occupied, max_pool, prepare, resolve_slides
from cnnjax.ops.windows import Slide, at_place, first_maximum

Overlap = Literal["add", "overwrite", "max"]
"""What becomes of several values put on one position: their sum, the one of the last window, or the largest."""


@checked()
def max_pool_with_switches(
    x: Float[Array, "batch *space channels"],
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> tuple[Float[Array, "batch *resolution channels"], Int[Array, "batch *resolution channels"]]:
    """Take the maximum of each window, as `max_pool` does, and its place there, which `max_unpool` needs.

    `switches[b, i, c] = argmax_j x[b, s i + d j − before, c]`, int32, j counted in row-major order inside the window:
    row `j // width` and column `j % width`. Of equal maxima, and of several NaNs, it is the first. It is never a place
    in zero padding.

    Arguments, sizes and errors are those of `max_pool`. Source: Zeiler & Fergus 2014, section 2.1.
    """
    options: dict[str, Any] = {"dilation": dilation, "ceil_mode": ceil_mode}
    y = max_pool(x, window, stride=stride, padding=padding, **options)
    x, slides = prepare(lax.stop_gradient(x), window, stride, padding, **options)
    # The last axis first, as in `max_pool`. One row chooses a column; the window chooses a row, and takes its column.
    x, place = first_maximum(x, slides[-1])
    switches = place.astype(jnp.int32)
    if len(slides) == 2:
        _, place = first_maximum(x, slides[0])
        switches = at_place(switches, slides[0], place) + place.astype(jnp.int32) * slides[1].size
    return y, switches


@checked()
def max_unpool(
    y: Float[Array, "batch *resolution channels"],
    switches: Int[Array, "batch *resolution channels"],
    window: int | Sequence[int],
    *,
    input_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    overlap: Overlap = "add",
) -> Float[Array, "batch *space channels"]:
    """Put each value back on the position that its switch names, and 0 on the positions that no window chose.

    `x[b, n, c] = Σ y[b, i, c]` over the windows i that chose n: those with `s i + d switches[b, i, c] − before = n`, or
    with a position of a circular or reflected border there that shows n.

    Windows that overlap can choose the same position. With overlap "add" it gets their sum: the transpose of
    `max_pool` at these switches, the one that agrees with a gradient. With "overwrite" it gets the value of the last
    window in row-major order, as libraries do that store one value after the other; with "max" the largest value.

    y is (batch, length, channels) or (batch, height, width, channels), floating point; switches has its shape, with
    values from 0 to the window's size less one, as `max_pool_with_switches` gives them for a map of spatial size
    input_size (an int or one int per axis) and the same window and options. The result is
    (batch, *input_size, channels). What lands in zero padding is lost.

    Raises InputError where y or switches are not of the shape that pooling gives on such a map, for an unknown overlap,
    and as `max_pool` does. Source: Zeiler & Fergus 2014, section 2.1; overlaps are not defined there.
    """
    resolution = spatial_shape(y, name="y")
    rank = len(resolution)
    input_size = per_axis(input_size, rank, name="input_size")
    slides, fill = resolve_slides(input_size, window, stride, padding, dilation=dilation, ceil_mode=ceil_mode)
    if fill == "zero":
        check_occupied((1, *input_size, 1), slides, padding)
    sizes = zip(input_size, slides, strict=True)
    _check_pooled(y, tuple(slide.count(n) for n, slide in sizes), input_size, window)
    if switches.shape != y.shape:
        raise InputError(f"switches has shape {switches.shape}, y {y.shape}; each value of y needs its switch.")

    def iota(axis: int) -> Array:
        return lax.broadcasted_iota(jnp.int32, y.shape, axis)

    # A scatter, since its program does not grow with the window and it folds every border alike. A sum of maps, each
    # with the values of one place in the window, was not faster throughout. Scatter and sum, on two busy CPU cores:
    # 3×3/2 onto 32×55×55×64 26 and 32 ms, onto 8×112×112×64 padded by 1 60 and 35, 2×2/2 onto 64×32×32×32 8 and 3.
    places = jnp.unravel_index(switches.astype(jnp.int32), tuple(slide.size for slide in slides))
    positions = [
        _sources(n, slide, fill)[slide.stride * iota(slide.axis) + slide.dilation * place]
        for n, slide, place in zip(input_size, slides, places, strict=True)
    ]
    return _scatter(y, (iota(0), *positions, iota(rank + 1)), input_size, overlap)


@checked()
def avg_unpool(
    y: Float[Array, "batch *resolution channels"],
    window: int | Sequence[int],
    *,
    input_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Float[Array, "batch *space channels"]:
    """Spread each value evenly over its window: the adjoint of `avg_pool`.

    `x[b, n, c] = (1 / |window|) Σ y[b, i, c]` over the windows i that read n, so overlapping windows add up. Where they
    neither overlap nor leave gaps it is nearest-neighbour up-sampling by the window, divided by |window|.

    y is (batch, length, channels) or (batch, height, width, channels), floating point; input_size, an int or one int
    per axis, is the spatial size of the map that was pooled with the same window and options. The result is
    (batch, *input_size, channels).

    Raises InputError where y is not of the shape that `avg_pool` gives on such a map, and as `avg_pool` does.
    """
    input_size = per_axis(input_size, len(spatial_shape(y, name="y")), name="input_size")
    pool = functools.partial(
        avg_pool,
        window=window,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )
    x = jax.ShapeDtypeStruct((y.shape[0], *input_size, y.shape[-1]), y.dtype)
    _check_pooled(y, jax.eval_shape(pool, x).shape[1:-1], input_size, window)
    (unpooled,) = jax.linear_transpose(pool, x)(y)
    return unpooled


def _check_pooled(
    y: Array, expected: tuple[int, ...], input_size: tuple[int, ...], window: int | Sequence[int]
) -> None:
    if not jnp.issubdtype(y.dtype, jnp.floating):
        raise InputError(f"y is {y.dtype}; unpooling needs floating point, as pooling gives it.")
    if y.shape[1:-1] != expected:
        raise InputError(
            f"y has spatial size {y.shape[1:-1]}, but pooling makes {expected} of input_size={input_size} with "
            f"window={window!r}; give the size of the map that y came from and the stride and padding of its pool."
        )


def _sources(n: int, slide: Slide, fill: Fill) -> Int[Array, " padded"]:
    """The position inside 0..n−1 that each position of the padded axis shows, or n where it shows none."""
    numbers = jnp.arange(n, dtype=jnp.int32)
    shown = jnp.pad(numbers, slide.pair, mode=PAD_MODES[fill], **({"constant_values": n} if fill == "zero" else {}))
    return jnp.pad(shown, (0, slide.beyond), constant_values=n)


def _scatter(y: Array, at: tuple[Array, ...], input_size: tuple[int, ...], overlap: Overlap) -> Array:
    """Put the values of `y` on their positions; one outside the map is dropped."""
    shape = (y.shape[0], *input_size, y.shape[-1])
    if overlap == "add":
        wide = y.astype(np.promote_types(y.dtype, np.float32))
        return jnp.zeros(shape, wide.dtype).at[at].add(wide, mode="drop").astype(y.dtype)
    windows = math.prod(y.shape[1:-1])
    number = lax.broadcasted_iota(jnp.int32, (y.shape[0], windows, y.shape[-1]), 1).reshape(y.shape)
    if overlap == "max":
        best = jnp.full(shape, -jnp.inf, y.dtype).at[at].max(lax.stop_gradient(y), mode="drop")
        largest = (y >= best.at[at].get(mode="clip")) | jnp.isnan(y)
        number = jnp.where(largest, number, -1)
    # A scatter that stores does not say which of several values stays; the largest window number does, everywhere.
    winner = jnp.full(shape, -1, jnp.int32).at[at].max(number, mode="drop")
    values = y.reshape(y.shape[0], windows, y.shape[-1])
    taken = jnp.maximum(winner, 0).reshape(y.shape[0], math.prod(input_size), y.shape[-1])
    won = jnp.take_along_axis(values, taken, axis=1).reshape(shape)
    return jnp.where(winner >= 0, won, jnp.zeros((), y.dtype))
