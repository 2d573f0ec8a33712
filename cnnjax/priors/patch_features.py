"""Patches as points of a low-dimensional space, whose distances are lower bounds of theirs."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cnnjax.priors.patches import GRAIN, pack

Images = tuple[Array, ...]
"""An image's values, packed: `patches.pack`."""

LAYOUT = ((10,) * 3,) * 2 + ((8,) * 4,) * 3 + ((6,) * 5,) * 2
"""Bits of the coordinates in each word, the widest first: patches vary ever less along the axes that follow."""

_SIZES = [2.0**bits - 1 for fields in LAYOUT for bits in fields]
_SAMPLE = 4096  # patches from which the space is found


class Space(NamedTuple):
    """An orthonormal P of few dimensions, the mean m that is subtracted first, and the box that coordinates fill."""

    basis: Array
    mean: Array
    low: Array
    scale: Array
    """Steps for each unit."""


def space_of(images: Sequence[Array], *, patch_size: int) -> Space:
    """The space in which patches of these quantized images, a sample of them, vary most."""
    sample = jnp.concatenate([_sample(_centred(image), patch_size) for image in images])
    mean = jnp.mean(sample, axis=0)
    complete = _orthonormal(sample - mean[None], patch_size)
    strength = jnp.var(sample @ complete, axis=0)
    basis = complete[:, jax.lax.top_k(strength, min(len(_SIZES) - 1, len(mean)))[1]]
    deviations = sample - mean[None]
    coordinates = _with_rest(deviations @ basis, jnp.sum(deviations**2, axis=1))
    low, high = jnp.min(coordinates, axis=0), jnp.max(coordinates, axis=0)
    scale = _SIZES[0] / jnp.maximum(jnp.max(high - low), 1e-3)
    return Space(basis, mean, (low + high) / 2 - _sizes(basis) / (2 * scale), scale)


def embed(image: Array, space: Space, *, patch_size: int) -> Images:
    """Every patch of a quantized image by its coordinates and the norm of the rest, packed.

    With a = (P a, r_a), ‖a − b‖² ≥ ‖P a − P b‖² + (r_a − r_b)², r being the norm of what P drops; that coordinates
    beyond the box are moved to its sides only brings them nearer.
    """
    # The mean goes along as one more column: ‖a − m‖² = ‖a‖² − 2 a·m + ‖m‖².
    columns = jnp.concatenate([space.basis, space.mean[:, None]], axis=1)
    products, norm = _products(_centred(image), columns, patch_size)
    coordinates = products[..., :-1] - (space.mean @ space.basis)[None, None]
    coordinates = _with_rest(coordinates, norm - 2 * products[..., -1] + jnp.sum(space.mean**2))
    steps = jnp.clip((coordinates - space.low[None, None]) * space.scale, 0, _sizes(space.basis)[None, None])
    return pack(jnp.round(steps).astype(jnp.int32), LAYOUT)


def _sizes(basis: Array) -> Array:
    """The largest value of each coordinate."""
    return jnp.asarray(_SIZES[: basis.shape[1] + 1], jnp.float32)


def _centred(image: Array) -> Array:
    return image.astype(jnp.float32) - GRAIN / 2


def _with_rest(coordinates: Array, squared_norm: Array) -> Array:
    """The norm of what the coordinates leave and, after it, the coordinates."""
    rest = squared_norm - jnp.sum(coordinates**2, axis=-1)
    return jnp.concatenate([jnp.sqrt(jnp.maximum(rest, 0))[..., None], coordinates], axis=-1)


def _orthonormal(deviations: Array, patch_size: int) -> Array:
    """Cosines over a patch times the principal axes of its colours: as columns, an orthonormal basis of all patches.

    The principal components of natural patches are nearly that, and cost a decomposition of all their values.
    """
    colours = deviations.reshape(-1, deviations.shape[1] // patch_size**2)
    _, axes = jnp.linalg.eigh(colours.T @ colours)
    order = jnp.arange(patch_size, dtype=jnp.float32)
    cosines = jnp.cos(jnp.pi / patch_size * (order[:, None] + 0.5) * order[None])
    cosines = cosines / jnp.linalg.norm(cosines, axis=0, keepdims=True)
    return jnp.kron(cosines, jnp.kron(cosines, axes))


def _products(image: Array, columns: Array, patch_size: int) -> tuple[Array, Array]:
    """Every patch times the columns, and its squared norm; matrix products row by row of the patch."""
    rows, across = image.shape[0] - patch_size + 1, image.shape[1] - patch_size + 1
    columns = columns.reshape(patch_size, -1, columns.shape[1])

    def add_row(row: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        here = jax.lax.dynamic_slice_in_dim(image, row, rows, 0)
        strips = jnp.concatenate([here[:, i : i + across] for i in range(patch_size)], axis=2)
        return sums[0] + strips @ columns[row], sums[1] + jnp.sum(strips**2, axis=2)

    zeros = (jnp.zeros((rows, across, columns.shape[2])), jnp.zeros((rows, across)))
    return jax.lax.fori_loop(0, patch_size, add_row, zeros)


def _sample(image: Array, patch_size: int) -> Array:
    """About `_SAMPLE` patches of an image as rows, evenly spaced."""
    rows, columns = image.shape[0] - patch_size + 1, image.shape[1] - patch_size + 1
    step = max(1, round((rows * columns / _SAMPLE) ** 0.5))
    y, x = jnp.arange(0, rows, step), jnp.arange(0, columns, step)
    inside = jnp.arange(patch_size)
    grid = (y[:, None] + inside[None]).reshape(-1), (x[:, None] + inside[None]).reshape(-1)
    patches = image[grid[0]][:, grid[1]].reshape(len(y), patch_size, len(x), patch_size, -1)
    return patches.transpose(0, 2, 1, 3, 4).reshape(len(y) * len(x), -1)
