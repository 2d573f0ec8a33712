"""Patches and their distances: what exact and randomised searches for nearest patches share.

Distances are sums of squared integers. They do not depend on the order of summation, so that a distance that is stored
and one that is computed anew agree to the bit, on every device and for every search.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from cnnjax.door.pictures import check_positions, checked_image, checked_mask
from cnnjax.errors import InputError

GRAIN = 1020
"""Steps in [0, 1] to which values are rounded: four in each of an 8-bit image's, whose values are thus exact."""

MOST_NEIGHBOURS = 64
"""That are found of a patch."""

PIXELS = (10, 10, 10)
"""Bits of the values in a word of an image."""

# Sums of squares are of 32 bits.
_MOST_VALUES = (2**31 - 1) // GRAIN**2


class NearestPatches(NamedTuple):
    """For every patch of a target, by its top left corner, the k nearest patches of a source, the nearest first.

    `position`: their top left corners (y, x). `distance`: the mean squared difference over a patch's values, which lie
    in [0, 1], at a resolution of 1/1020; infinite where fewer than k patches were allowed.
    """

    position: Int[Array, "rows columns k 2"]
    distance: Float[Array, "rows columns k"]


def check_patches(
    source: Array, target: Array, mask: Array | None, *, patch_size: int, exclusion: int, k: int
) -> tuple[Array, Array, Array | None]:
    """Return images (height, width, channels) and a boolean mask; InputError for what no search can work with."""
    source, target = checked_image("source", source), checked_image("target", target)
    for name, image in (("source", source), ("target", target)):
        check_patch_size(name, image, patch_size)
        check_positions(name, image.shape[:2])
    if source.shape[2] != target.shape[2]:
        raise InputError(f"source has {source.shape[2]} channels, target {target.shape[2]}; they must agree")
    check_values(patch_size, source.shape[2])
    if exclusion < 0 or not 1 <= k <= MOST_NEIGHBOURS:
        raise InputError(
            f"exclusion={exclusion} must not be negative, and k={k} must be at least 1 and at most {MOST_NEIGHBOURS}"
        )
    farthest = max(*source.shape[:2], *target.shape[:2]) - patch_size
    if exclusion > farthest:
        raise InputError(f"exclusion={exclusion} forbids every match; in these images none is farther than {farthest}")
    if mask is None:
        return source, target, None
    mask = jnp.asarray(checked_mask(mask, source.shape[:2]))
    if not isinstance(mask, Tracer) and not allowed_patches(mask, patch_size=patch_size).any():
        raise InputError(
            f"no patch of {patch_size}×{patch_size} pixels lies outside the mask; give a smaller patch_size or mask"
        )
    return source, target, mask


def check_patch_size(name: str, image: Array, patch_size: int) -> None:
    """Raise InputError for patches that do not fit into an image."""
    if not 1 <= patch_size <= min(image.shape[:2]):
        raise InputError(
            f"patch_size={patch_size} does not fit into the {name} of {image.shape[0]}×{image.shape[1]} pixels"
        )


def check_values(patch_size: int, channels: int) -> None:
    """Raise InputError for patches of so many values that a sum of squares could overflow."""
    values = patch_size**2 * channels
    if values > _MOST_VALUES:
        raise InputError(
            f"patch_size={patch_size} makes patches of {values} values in {channels} channels, whose squared "
            f"differences could overflow; at most {_MOST_VALUES}: give a smaller patch_size"
        )


def allowed_patches(mask: Bool[Array, "height width"], *, patch_size: int) -> Bool[Array, "rows columns"]:
    """Which patches, by their top left corners, touch nothing of the mask."""
    touched = jax.lax.reduce_window(mask, False, jax.lax.bitwise_or, (patch_size, patch_size), (1, 1), "valid")
    return ~touched


def quantize(image: Float[Array, "height width c"]) -> Int[Array, "height width c"]:
    """Values of [0, 1] as integers of 0 to 1020; what lies outside is clipped."""
    return jnp.round(jnp.clip(image.astype(jnp.float32), 0, 1) * GRAIN).astype(jnp.int32)


def pack(values: Int[Array, "c height width"], layout: Iterable[Sequence[int]]) -> tuple[Array, ...]:
    """Several values in each word of uint32 (height, width), as one load brings them all.

    `layout` has the bits of each value for one word after the other, as far as there are values; they must fit.
    """
    channels, words = list(values.astype(jnp.uint32)), []
    for fields in layout:
        if not channels:
            break
        word, shift = jnp.zeros(values.shape[1:], jnp.uint32), 0
        for bits in fields[: len(channels)]:
            word, shift = word | (channels.pop(0) << shift), shift + bits
        words.append(word)
    return tuple(words)


def squared_difference(a: Array, b: Array, fields: Sequence[int]) -> Array:
    """`Σ (aᵢ − bᵢ)²` over the values packed in each word, int32; `fields` are their bits."""
    total, shift = jnp.zeros((), jnp.int32), 0
    for bits in fields:
        low = (1 << bits) - 1
        difference = ((a >> shift) & low).astype(jnp.int32) - ((b >> shift) & low).astype(jnp.int32)
        total, shift = total + difference * difference, shift + bits
    return total


def take(table: Array, index: Array) -> Array:
    """`table[index]` of a flattened table, for an index that is known to lie inside."""
    return table.reshape(-1).at[index].get(mode="promise_in_bounds")


def pair_distances(
    source: tuple[Array, ...],
    target: tuple[Array, ...],
    theirs: tuple[Array, Array],
    ours: tuple[Array, Array],
    *,
    patch_size: int,
) -> Int[Array, " pairs"]:
    """Sums of squared differences of pairs of patches of packed images, given by their corners (y, x)."""

    def cut(words: Array, corners: tuple[Array, Array]) -> Array:
        return jax.vmap(lambda *corner: jax.lax.dynamic_slice(words, corner, (patch_size, patch_size)))(*corners)

    total = jnp.zeros((), jnp.int32)
    for images in zip(source, target, strict=True):
        # Without barriers the compiler fuses copies and sums, and computes the copies one value at a time.
        a, b = jax.lax.optimization_barrier(tuple(map(cut, images, (theirs, ours))))
        total = total + sum(squared_difference(a[:, row], b[:, row], PIXELS) for row in range(patch_size))
    return jnp.sum(total, axis=1)


def mean_squared(total: Int[Array, "*shape"], *, values: int, forbidden: int) -> Float[Array, "*shape"]:
    """Sums of squares as means in units of the image, infinite where they are `forbidden`."""
    return jnp.where(total == forbidden, jnp.inf, total.astype(jnp.float32) / (values * GRAIN**2))
