"""Patches as points of a low-dimensional space, whose distances are lower bounds of theirs."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cnnjax.priors.patches import GRAIN, pack

Images = tuple[Array, ...]
"""An image's values, packed: `patches.pack`."""

_DIMENSIONS = 24
_SAMPLE = 4096  # patches from which the space is found


def features_of(source: Array, target: Array, *, patch_size: int) -> tuple[Images, Images]:
    """Every patch by its strongest components and the norm of the rest, packed: their distances are lower bounds.

    With a = (P a, r_a) for an orthonormal P, ‖a − b‖² ≥ ‖P a − P b‖² + (r_a − r_b)², r being the norm of what P drops.
    """
    values = patch_size**2 * source.shape[2]
    centred = [image.astype(jnp.float32) - GRAIN / 2 for image in (source, target)]
    sample = jnp.concatenate([_sample(image, patch_size) for image in centred])
    mean = jnp.mean(sample, axis=0)
    complete = _orthonormal(sample - mean[None], patch_size)
    strength = jnp.var(sample @ complete, axis=0)
    basis = complete[:, jax.lax.top_k(strength, min(_DIMENSIONS - 1, values))[1]]
    # The mean goes along as one more column: ‖a − m‖² = ‖a‖² − 2 a·m + ‖m‖².
    columns = jnp.concatenate([basis, mean[:, None]], axis=1)

    def project(image: Array) -> Array:
        products, norm = _products(image, columns, patch_size)
        coordinates = products[..., :-1] - (mean @ basis)[None, None]
        rest = norm - 2 * products[..., -1] + jnp.sum(mean**2) - jnp.sum(coordinates**2, axis=2)
        return jnp.concatenate([coordinates, jnp.sqrt(jnp.maximum(rest, 0))[..., None]], axis=2)

    both = [project(image) for image in centred]
    low = jnp.minimum(*(jnp.min(x, axis=(0, 1), keepdims=True) for x in both))
    scale = 1023 / jnp.maximum(jnp.maximum(*(jnp.max(x - low) for x in both)), 1e-3)
    theirs, ours = (pack(jnp.round((x - low) * scale).astype(jnp.int32)) for x in both)
    return theirs, ours


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
