"""Patches as points of a low-dimensional space, whose distances are lower bounds of theirs."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cnnjax.patches.distances import GRAIN, pack

Images = tuple[Array, ...]
"""An image's values, packed: `patches.pack`."""

LAYOUT = ((10,) * 3,) * 2 + ((8,) * 4,) * 3 + ((6,) * 5,) * 2
"""Bits of the coordinates in each word, the widest first: patches vary ever less along the axes that follow."""

_SIZES = [2.0**bits - 1 for fields in LAYOUT for bits in fields]
_SAMPLE = 2048  # patches from which the space is found
_ALIGNED = 8  # words


class Space(NamedTuple):
    """Chosen products of a cosine down, a cosine along and an axis of colour, and the box that coordinates fill.

    The principal components of natural patches are nearly such products, which are orthonormal, found without a
    decomposition of all their values, and computed one factor after the other.
    """

    mean: Array
    """The colour that is subtracted first."""
    axes: Array
    """Principal axes of the colours, as columns."""
    chosen: Array
    """Frequency down, frequency along and axis of each coordinate after the first: (3, n)."""
    low: Array
    scale: Array
    """Steps for each unit."""


def space_of(images: Sequence[Array], *, patch_size: int) -> Space:
    """The space in which patches of these quantized images, a sample of them, vary most."""
    # Without barriers the compiler computes anew, for every use, what has several.
    sample = jax.lax.optimization_barrier(jnp.concatenate([_sample(_centred(image), patch_size) for image in images]))
    mean = jnp.mean(sample, axis=(0, 1, 2))
    sample = sample - mean[None, None, None]
    colors = sample.reshape(-1, sample.shape[3])
    axes = jnp.linalg.eigh(colors.T @ colors)[1]
    cosines = _cosines(patch_size)
    waves = jnp.einsum("yv,xu,ca->vuayxc", cosines, cosines, axes)
    products = jnp.einsum("vuayxc,nyxc->vuan", waves, sample, precision="highest")
    strength = jnp.var(products, axis=3)
    count = min(len(_SIZES) - 1, strength.size)
    chosen = jnp.stack(jnp.unravel_index(jax.lax.top_k(strength.reshape(-1), count)[1], strength.shape))
    coordinates = _with_rest(products[tuple(chosen)], jnp.sum(sample**2, axis=(1, 2, 3)))
    low, high = jnp.min(coordinates, axis=1), jnp.max(coordinates, axis=1)
    scale = _SIZES[0] / jnp.maximum(jnp.max(high - low), 1e-3)
    return Space(mean, axes, chosen, (low + high) / 2 - _sizes(chosen) / (2 * scale), scale)


def embed(image: Array, space: Space, *, patch_size: int) -> Array:
    """Every patch of a quantized image by its coordinates and the norm of the rest, packed: (rows, columns, words).

    The words of a patch lie together, so that one access to memory brings them all; zeros fill them up to eight.

    With a = (P a, r_a), ‖a − b‖² ≥ ‖P a − P b‖² + (r_a − r_b)², r being the norm of what P drops; that coordinates
    beyond the box are moved to its sides only brings them nearer.
    """
    values = jnp.moveaxis(_centred(image) - space.mean[None, None], 2, 0)
    coordinates = _with_rest(_products(values, space, patch_size), _squared_norms(values, patch_size))
    steps = jnp.clip((coordinates - _each(space.low)) * space.scale, 0, _each(_sizes(space.chosen)))
    words = pack(jnp.round(steps).astype(jnp.int32), LAYOUT)
    return jnp.stack([*words, *[jnp.zeros_like(words[0])] * (-len(words) % _ALIGNED)], axis=-1)


def _sizes(chosen: Array) -> Array:
    """The largest value of each coordinate."""
    return jnp.asarray(_SIZES[: chosen.shape[1] + 1], jnp.float32)


def _each(values: Array) -> Array:
    """One value for each of several maps."""
    return values[:, None, None]


def _centred(image: Array) -> Array:
    return image.astype(jnp.float32) - GRAIN / 2


def _with_rest(coordinates: Array, squared_norm: Array) -> Array:
    """The norm of what the coordinates leave and, after it, the coordinates."""
    rest = squared_norm - sum(c**2 for c in coordinates)
    return jnp.concatenate([jnp.sqrt(jnp.maximum(rest, 0))[None], coordinates])


def _cosines(size: int) -> Array:
    """The orthonormal cosines over `size` pixels, as columns."""
    order = jnp.arange(size, dtype=jnp.float32)
    cosines = jnp.cos(jnp.pi / size * (order[:, None] + 0.5) * order[None])
    return cosines / jnp.linalg.norm(cosines, axis=0, keepdims=True)


def _products(values: Array, space: Space, patch_size: int) -> Array:
    """The coordinates of every patch but the first, (n, rows, columns), of an image (channels, height, width)."""
    cosines = _cosines(patch_size)
    down, along, axis = space.chosen
    colors = jnp.einsum("cyx,ca->ayx", values, space.axes, precision="highest")
    waves = [_weighted_sum(colors, w[:, None], axis=2) for w in cosines.T]
    chosen = jax.lax.optimization_barrier(jnp.stack(waves))[along, axis]
    return jax.lax.optimization_barrier(_weighted_sum(chosen, cosines[:, down], axis=1))


def _weighted_sum(maps: Array, weights: Array, *, axis: int) -> Array:
    """`Σᵢ weightsᵢ maps(· + i)` along an axis, where all of the window fits; weights: (window, maps or 1)."""
    size = maps.shape[axis] - len(weights) + 1
    total = jnp.zeros((), maps.dtype)
    for i, w in enumerate(weights):
        total = total + jax.lax.slice_in_dim(maps, i, i + size, axis=axis) * _each(w)
    return total


def _squared_norms(values: Array, patch_size: int) -> Array:
    """Of every patch."""
    ones = jnp.ones((patch_size, 1))
    squares = sum((v**2 for v in values), jnp.zeros(values.shape[1:]))[None]
    return _weighted_sum(_weighted_sum(squares, ones, axis=2), ones, axis=1)[0]


def _sample(image: Array, patch_size: int) -> Array:
    """About `_SAMPLE` patches of an image, evenly spaced: (n, patch_size, patch_size, channels)."""
    rows, columns = image.shape[0] - patch_size + 1, image.shape[1] - patch_size + 1
    step = max(1, round((rows * columns / _SAMPLE) ** 0.5))
    y, x = jnp.arange(0, rows, step), jnp.arange(0, columns, step)
    inside = jnp.arange(patch_size)
    grid = (y[:, None] + inside[None]).reshape(-1), (x[:, None] + inside[None]).reshape(-1)
    patches = image[grid[0]][:, grid[1]].reshape(len(y), patch_size, len(x), patch_size, -1)
    return patches.transpose(0, 2, 1, 3, 4).reshape(len(y) * len(x), patch_size, patch_size, -1)
