"""Exact nearest patches, by comparing every patch with every other, tile by tile."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from cnnjax.door import checked
from cnnjax.patches.distances import (
    GRAIN,
    MOST_NEIGHBOURS,
    NearestPatches,
    allowed_patches,
    check_patches,
    mean_squared,
    quantize,
)

_TARGETS, _SOURCES, _BLOCK = 1024, 4096, MOST_NEIGHBOURS  # patches in a tile of 16 MiB, and sources in a block of it
_FORBIDDEN = 2**31 - 1


@checked()
def nearest_patches(
    source: Float[Array, "source_height source_width *c"],
    target: Float[Array, "height width *c"],
    *,
    patch_size: int = 7,
    k: int = 1,
    mask: Shaped[Array, "source_height source_width"] | None = None,
    exclusion: int = 0,
) -> NearestPatches:
    """The k nearest source patches of every target patch, exactly.

    Every pair is compared, as ‖a − b‖² = ‖a‖² − 2 a·b + ‖b‖² in float32, in tiles of 1,024 by 4,096 patches, so that
    memory stays bounded; the k nearest of each tile are then compared by their exact distances. Patches whose
    distances differ by less than the rounding of float32 may stand for each other. The time grows with the product of
    both images' areas.

    Images have values in [0, 1]. `mask` is True (or 1, or 255) at source pixels that no match may contain; matches
    closer to the patch's own position than `exclusion` pixels (in both axes) are forbidden too. Raises InputError for
    images that do not fit each other, the mask or the patches, and for a mask that leaves no patch.
    """
    source, target, mask = check_patches(source, target, mask, patch_size=patch_size, exclusion=exclusion, k=k)
    return _nearest(source, target, mask, patch_size=patch_size, k=k, exclusion=exclusion)


@partial(jax.jit, static_argnames=("patch_size", "k", "exclusion"))
def _nearest(
    source: Array, target: Array, mask: Array | None, *, patch_size: int, k: int, exclusion: int
) -> NearestPatches:
    shapes = [(x.shape[0] - patch_size + 1, x.shape[1] - patch_size + 1) for x in (source, target)]
    (_, width), (rows, columns) = shapes
    counts = [height * across for height, across in shapes]
    theirs, ours = quantize(source), quantize(target)
    allowed = jnp.full(shapes[0], True) if mask is None else allowed_patches(mask, patch_size=patch_size)

    def tile(t: Array) -> tuple[Array, Array]:
        wanted = jnp.minimum(t * _TARGETS + jnp.arange(_TARGETS), counts[1] - 1)
        mine = _patches(ours, wanted, columns, patch_size)

        def compare(s: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
            index = s * _SOURCES + jnp.arange(_SOURCES)
            inside = jnp.minimum(index, counts[0] - 1)
            others = _patches(theirs, inside, width, patch_size)
            permitted = ((index < counts[0]) & allowed.reshape(-1)[inside])[None]
            if exclusion:
                down = jnp.abs(wanted[:, None] // columns - inside[None] // width)
                along = jnp.abs(wanted[:, None] % columns - inside[None] % width)
                permitted = permitted & (jnp.maximum(down, along) >= exclusion)
            a, b = (x.astype(jnp.float32) - GRAIN / 2 for x in (mine, others))
            scores = jnp.sum(b * b, axis=1)[None] - 2 * jnp.matmul(a, b.T, precision="highest")
            scores = jnp.where(permitted, scores, jnp.inf)
            chosen = _least(scores, k)
            difference = mine[:, None] - others[chosen]
            total = jnp.sum(difference * difference, axis=2)
            total = jnp.where(jnp.isfinite(jnp.take_along_axis(scores, chosen, axis=1)), total, _FORBIDDEN)
            merged = jnp.concatenate([best[0], total], axis=1), jnp.concatenate([best[1], inside[chosen]], axis=1)
            total, found = jax.lax.sort(merged, dimension=1, num_keys=1)
            return total[:, :k], found[:, :k]

        nothing = (jnp.full((_TARGETS, k), _FORBIDDEN, jnp.int32), jnp.zeros((_TARGETS, k), jnp.int32))
        return jax.lax.fori_loop(0, -(-counts[0] // _SOURCES), compare, nothing)

    total, found = jax.lax.map(tile, jnp.arange(-(-counts[1] // _TARGETS)))
    total, found = (x.reshape(-1, k)[: counts[1]].reshape(rows, columns, k) for x in (total, found))
    distance = mean_squared(total, values=patch_size**2 * source.shape[2], forbidden=_FORBIDDEN)
    return NearestPatches(jnp.stack([found // width, found % width], axis=-1), distance)


def _patches(image: Array, index: Array, columns: int, patch_size: int) -> Array:
    """The patches at these positions, flattened as rows."""
    inside = jnp.arange(patch_size)
    y = (index // columns)[:, None, None] + inside[None, :, None]
    x = (index % columns)[:, None, None] + inside[None, None, :]
    return image[y, x].reshape(len(index), -1)


def _least(scores: Array, k: int) -> Array:
    """The columns of the k least of each row; only the k blocks with the least minima are sorted."""
    blocks = scores.reshape(scores.shape[0], -1, _BLOCK)
    _, chosen = jax.lax.top_k(-jnp.min(blocks, axis=2), k)
    within = jnp.take_along_axis(blocks, chosen[:, :, None], axis=1)
    _, order = jax.lax.top_k(-within.reshape(len(scores), -1), k)
    return jnp.take_along_axis(chosen, order // _BLOCK, axis=1) * _BLOCK + order % _BLOCK
