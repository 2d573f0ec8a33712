"""Maps as samples of band-limited signals: ideal resampling, and pools and nonlinearities that do not alias."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Num

from cnnjax.door import checked
from cnnjax.door.words import in_line, shown
from cnnjax.errors import InputError
from cnnjax.ops.padding import per_axis, spatial_shape

MOST = 64
"""Points of the finer grid for each pixel, along an axis: more is a mistake."""
LARGEST = 2**16
"""Points along an axis, for each of which and each pixel a matrix has a number."""


@checked()
def fourier_resample(
    x: Num[Array, "batch *space channels"], *, size: int | Sequence[int]
) -> Num[Array, "batch *resolution channels"]:
    """Sample the band-limited, circular signal that a map stands for at `size` points along each axis.

    `y[i] = Σ_|k| < min(n, m) / 2 X[k] exp(2πi k p_i / n) / n` at `p_i = (i + 1/2) n / m − 1/2`, along an axis of n
    pixels and m new points: an ideal low pass to the band that both grids hold. The points lie as the pixels of a
    picture that is enlarged or made smaller about its centre, so that mirror images and quarter turns commute with it.

    The Nyquist frequency of the coarser grid, where that is even, is left out: its phase is not known, so that no part
    of it can move by half a pixel. Hence `fourier_resample(fourier_shift(x, d), size=m)` is
    `fourier_shift(fourier_resample(x, size=m), d m / n)` for every x and every real d, and to the same size and back x
    loses that frequency only.

    x is (batch, length, channels) or (batch, height, width, channels), floating point, worked in float32 at least. size
    is an int or one int per axis, at most 65,536. Raises InputError for another size, shape or dtype.
    """
    sizes = per_axis(size, len(_space(x)), name="size")
    if max(sizes) > LARGEST:
        raise InputError(f"size={in_line(size)} is more than {LARGEST} points along an axis, which is a mistake.")
    return jnp.moveaxis(_resampled(_wide(x), 1, sizes), 1, -1).astype(x.dtype)


@checked()
def alias_free_pool(
    x: Num[Array, "batch *space channels"], *, stride: int | Sequence[int] = 2
) -> Num[Array, "batch *resolution channels"]:
    """Make a map smaller by an ideal low pass before sampling: `fourier_resample` to `⌈n / stride⌉` points.

    A circular shift by any real d moves the result by `d ⌈n / stride⌉ / n`, exactly but for rounding. Of an even number
    m of points m − 1 frequencies are left, so that a map of 2 is constant, as the mean.

    Shapes and dtypes are those of `fourier_resample`. Raises InputError as it does, and for another stride.
    Source: Michaeli et al. 2023, "Alias-Free Convnets", section 3.
    """
    space = _space(x)
    strides = per_axis(stride, len(space), name="stride")
    return fourier_resample(x, size=[-(-n // s) for n, s in zip(space, strides, strict=True)])


@checked()
def alias_free(
    x: Num[Array, "batch *space channels"], function: Callable[[Array], Any], *, factor: int | float = 2
) -> Num[Array, "batch *space channels"]:
    """Apply a function of single numbers to the signal that a map stands for, and keep what its grid can hold.

    `y = D f(U x)`: U is `fourier_resample` to `⌈factor n⌉` points along each axis of n, D back to n. Applied to the
    pixels, f makes frequencies beyond their band, which fold back into it as others and do not move as the signal does.

    Commutes with circular shifts by any real offset up to what f folds back from beyond the finer grid: exactly, but
    for rounding, where f is a polynomial of a degree of at most 2 · factor − 1, so a square at 1.5 and a cube at 2; of
    a rectifier at 2 a part is left that falls with the factor. By whole points of the finer grid, halves of a pixel at
    2, every f commutes. With an integer factor, or such a polynomial, also with mirror images and quarter turns.

    x is (batch, length, channels) or (batch, height, width, channels), floating point, worked in float32 at least; its
    own Nyquist frequency, of an even size, is left out. f is traced on an array of other shape and order of axes and
    gives one of that shape. factor is 1 to 64.
    Raises InputError for another factor, shape or dtype, and for an f that gives anything else.
    Sources: Karras et al. 2021, "Alias-Free Generative Adversarial Networks", section 3; Michaeli et al. 2023,
    "Alias-Free Convnets", section 3; for the grid that a product needs, Orszag 1971.
    """
    space = _space(x)
    if not 1 <= factor <= MOST:
        raise InputError(f"factor={in_line(factor)} must be a number from 1 to {MOST}; 2 is the usual grid.")
    up = _resampled(_wide(x), 1, [math.ceil(factor * n) for n in space])
    y = function(up)
    if not isinstance(y, jax.Array) or y.shape != up.shape or not jnp.issubdtype(y.dtype, jnp.floating):
        raise InputError(
            f"function gave {shown(y)} for {shown(up)}; it must give an array of that shape, each number from one."
        )
    return jnp.moveaxis(_resampled(y, 2, space), 1, -1).astype(x.dtype)


def _space(x: Array) -> tuple[int, ...]:
    space = spatial_shape(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(f"x is {x.dtype}; between its pixels are fractions. Convert it with .astype(jnp.float32).")
    return space


def _wide(x: Array) -> Array:
    return x.astype(np.promote_types(x.dtype, np.float32))


# Products with fixed matrices, not transforms. Activated at twice the resolution, with the gradient, in turns on two
# busy CPU cores, FFTs of both axes took 3.1, 3.2 and 1.9 times as long as what is below (medians), on maps of
# 64×16×16×8, 64×32×32×16 and 16×56×56×32; an einsum for each axis, which leaves the channels last, 1.0, 1.9 and 1.4.
def _resampled(x: Array, axis: int, sizes: Sequence[int]) -> Array:
    """The spatial axes of x, the first of which is `axis`, at other sizes and moved to the end, in their order."""
    for size in sizes:
        matrix = _matrix(x.shape[axis], size).astype(x.dtype)
        x = lax.dot_general(x, matrix, (((axis,), (1,)), ((), ())), precision=lax.Precision.HIGHEST)
    return x


@functools.lru_cache(maxsize=256)
def _matrix(n: int, m: int) -> np.ndarray:
    """`A[i, j] = Σ_|k| < min(n, m) / 2 exp(2πi k (p_i − j) / n) / n`, (m, n): the signal at p_i of an impulse at j."""
    k = np.arange(1, (min(n, m) - 1) // 2 + 1)[:, None]
    cycles = [k * points / n for points in ((np.arange(m) + 0.5) * (n / m) - 0.5, np.arange(n))]
    # Whole cycles change nothing but the rounding of the sine.
    at, of = (np.exp(2j * np.pi * (turns - np.round(turns))) for turns in cycles)
    return (1 + 2 * np.real(at.T @ of.conj())) / n
