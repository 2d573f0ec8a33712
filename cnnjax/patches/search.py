"""The search of PatchMatch, on images that were prepared for it."""

import math
from collections.abc import Sequence
from itertools import repeat
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cnnjax.patches.distances import (
    PIXELS,
    NearestPatches,
    allowed_patches,
    mean_squared,
    pack,
    pair_distances,
    squared_difference,
    take,
)
from cnnjax.patches.patch_features import LAYOUT, Images, Space, embed

JUMPS = (8, 4, 2, 1)
"""How far away the neighbours are asked, pass by pass of an iteration."""

_GUESSES = 3  # of the random search, in each pass
_FIRST_GUESSES = 16  # of which the best begins the field
_FORBIDDEN = 2**31 - 1
_BLOCK = 2**14  # exact distances that are computed together
_TOGETHER = 2**22  # candidates whose points, of 32 bytes, are held at a time


class Prepared(NamedTuple):
    """An image as the search reads it: its pixels, its patches as points, and which of them are allowed (or all)."""

    pixels: Images
    patches: Array
    allowed: Array | None


def prepare(image: Array, mask: Array | None, space: Space, *, patch_size: int) -> Prepared:
    """Prepare a quantized image; `mask` is True where a source must not be matched.

    The barrier keeps the compiler from computing anew, for every load, what is loaded.
    """
    allowed = None if mask is None else allowed_patches(mask, patch_size=patch_size)
    return jax.lax.optimization_barrier(
        Prepared(pack(jnp.moveaxis(image, 2, 0), repeat(PIXELS)), embed(image, space, patch_size=patch_size), allowed)
    )


def search(
    source: Prepared,
    target: Prepared,
    key: Array,
    initial: Array | None,
    *,
    iterations: Array,
    stop_below: Array,
    patch_size: int,
    channels: int,
    exclusion: int = 0,
    k: int = 1,
) -> NearestPatches:
    """See `patchmatch`; `initial` holds positions (rows, columns, k, 2)."""
    allowed = source.allowed
    (height, width, _), (rows, columns, words) = source.patches.shape, target.patches.shape
    points = source.patches.reshape(height * width, words)
    own_words = jax.lax.optimization_barrier(tuple(target.patches[..., i] for i in range(words)))

    def permitted(index: Array) -> Array:
        """Which candidates (..., rows, columns), positions in the flattened source, are not forbidden."""
        inside = jnp.full(index.shape, True) if allowed is None else take(allowed, index)
        if not exclusion:
            return inside
        down = jnp.abs(index // width - jnp.arange(rows)[:, None].reshape((1,) * (index.ndim - 2) + (rows, 1)))
        along = jnp.abs(index % width - jnp.arange(columns).reshape((1,) * (index.ndim - 1) + (columns,)))
        return inside & (jnp.maximum(down, along) >= exclusion)

    def bound(index: Array) -> Array:
        """Lower bounds of the candidates' distances.

        Without barriers the compiler fuses loads and sums, and computes both one value at a time.
        """
        if len(index) > 1 and index.size > _TOGETHER:
            return jax.lax.map(lambda candidate: bound(candidate[None])[0], index)
        theirs = jax.lax.optimization_barrier(points.at[index].get(mode="promise_in_bounds"))
        total = jnp.zeros((), jnp.int32)
        for i, (word, fields) in enumerate(zip(own_words, LAYOUT, strict=False)):
            total = total + squared_difference(theirs[..., i], word[None], fields)
        return jnp.where(permitted(index), total, _FORBIDDEN)

    def exact(index: Array, wanted: Array) -> Array:
        """The distances of those of k candidates each that are wanted, which are ever fewer; else forbidden."""

        def measure(candidates: tuple[Array, Array]) -> Array:
            index, wanted = candidates
            count = jnp.sum(wanted.astype(jnp.int32))
            order = jnp.nonzero(wanted, size=wanted.size, fill_value=0)[0].astype(jnp.int32)

            def block(i: Array, total: Array) -> Array:
                ours = jax.lax.dynamic_slice_in_dim(order, i * _BLOCK, min(_BLOCK, wanted.size))
                theirs = take(index, ours)
                corners = (theirs // width, theirs % width), (ours // columns, ours % columns)
                found = pair_distances(source.pixels, target.pixels, *corners, patch_size=patch_size)
                return total.at[ours].set(found, mode="promise_in_bounds")

            return jax.lax.fori_loop(0, -(-count // _BLOCK), block, jnp.full(wanted.size, _FORBIDDEN))

        total = jax.lax.map(measure, (index.reshape(len(index), -1), wanted.reshape(len(wanted), -1)))
        return jnp.where(wanted, total.reshape(wanted.shape), _FORBIDDEN)

    def improve(number: Array, key: Array, known: Array, distance: Array) -> tuple[Array, Array]:
        """One iteration: search by bounds, then keep what is nearer in truth."""
        key = jax.random.fold_in(key, 1 + number)
        best = _sorted(known, bound(known))
        for i, jump in enumerate(JUMPS):
            radii = [max(max(height, width) / 2 ** (i * _GUESSES + j), 1.0) for j in range(_GUESSES)]
            candidates = _candidates(best[0], jump, radii, jax.random.fold_in(key, i), (height, width))
            best = insert(*best, candidates)
        found = best[0]
        new = permitted(found) & jnp.all(found[:, None] != known[None], axis=1)
        return jax.lax.optimization_barrier(_insert(known, distance, found, exact(found, new)))

    def insert(index: Array, value: Array, candidates: Array) -> tuple[Array, Array]:
        candidates = jax.lax.optimization_barrier(candidates)
        values = jax.lax.optimization_barrier(bound(candidates))
        return jax.lax.optimization_barrier(_insert(index, value, candidates, values))

    if initial is None:
        start = _guess(jax.random.fold_in(key, 0), allowed, (_FIRST_GUESSES * k, rows, columns), height * width)
        none = (jnp.zeros((k, rows, columns), jnp.int32), jnp.full((k, rows, columns), _FORBIDDEN))
        start, _ = insert(*none, start)
    else:
        y, x = jnp.clip(initial[..., 0], 0, height - 1), jnp.clip(initial[..., 1], 0, width - 1)
        start = jnp.moveaxis(y * width + x, -1, 0).astype(jnp.int32)
    state = (jnp.zeros((), jnp.int32), jnp.ones(()), *_sorted(start, exact(start, permitted(start))))

    def unfinished(state: Any) -> Array:
        return (state[0] < iterations) & (state[1] >= stop_below)

    def iterate(state: Any) -> Any:
        number, _, known, distance = state
        index, nearer = improve(number, key, known, distance)
        improved = jnp.any(nearer < distance, axis=0)
        return number + 1, jnp.mean(improved.astype(jnp.float32)), index, nearer

    _, _, index, total = jax.lax.while_loop(unfinished, iterate, state)
    index, total = jnp.moveaxis(index, 0, -1), jnp.moveaxis(total, 0, -1)
    distance = mean_squared(total, values=patch_size**2 * channels, forbidden=_FORBIDDEN)
    return NearestPatches(jnp.stack([index // width, index % width], -1), distance)


def _candidates(index: Array, jump: int, radii: Sequence[float], key: Array, size: tuple[int, int]) -> Array:
    """The neighbours' findings and guesses around one's own: flat positions (4 k + guesses k, rows, columns)."""
    height, width = size

    def flat(y: Array, x: Array) -> Array:
        inside = jnp.clip(y, 0, height - 1) * width + jnp.clip(x, 0, width - 1)
        return jax.lax.optimization_barrier(inside.reshape(-1, *index.shape[1:]))

    rolls = [jnp.roll(index, step, axis) for axis in (1, 2) for step in (jump, -jump)]
    theirs = jax.lax.optimization_barrier(jnp.stack(rolls))
    steps = jnp.asarray([[jump, 0], [-jump, 0], [0, jump], [0, -jump]])[:, :, None, None, None]
    neighbours = flat(theirs // width + steps[:, 0], theirs % width + steps[:, 1])
    drawn = _bits(key, (len(radii), *index.shape))
    down, along = (
        jnp.round((half.astype(jnp.float32) / 32768 - 1) * jnp.asarray(radii)[:, None, None, None]).astype(jnp.int32)
        for half in (drawn >> 16, drawn & 0xFFFF)
    )
    return jnp.concatenate([neighbours, flat((index // width)[None] + down, (index % width)[None] + along)])


def _bits(key: Array, shape: tuple[int, ...]) -> Array:
    """Random 32-bit words: a seed of `key`'s, each word's place added, and mixed (Wellons 2018, "lowbias32").

    `jax.random.bits` costs thirty times as much, a tenth of the search, for a quality that guesses do not need.
    """
    words = jax.random.bits(key, (), jnp.uint32) + jax.lax.iota(jnp.uint32, math.prod(shape))
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        words = (words ^ (words >> shift)) * jnp.uint32(factor)
    return (words ^ (words >> 16)).reshape(shape)


def _guess(key: Array, allowed: Array | None, shape: tuple[int, ...], count: int) -> Array:
    """Random positions, of the allowed ones where some are not."""
    drawn = (_bits(key, shape) >> 1).astype(jnp.int32)
    if allowed is None:
        return drawn % count
    ranks = jnp.cumsum(allowed.reshape(-1).astype(jnp.int32))
    chosen = drawn % jnp.maximum(ranks[-1], 1)
    # The position of the allowed patch of each rank, in order.
    of_rank = jnp.searchsorted(ranks, jnp.arange(1, count + 1))
    return take(jnp.minimum(of_rank, count - 1).astype(jnp.int32), chosen)


def _insert(index: Array, value: Array, candidates: Array, values: Array) -> tuple[Array, Array]:
    """Put every candidate that is nearer into its place in the ascending lists (k, rows, columns), none twice."""

    def place(lists: tuple[Array, Array], candidate: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        indices, known = list(lists[0]), list(lists[1])
        new, distance = candidate
        for i in indices:
            distance = jnp.where(new == i, _FORBIDDEN, distance)
        for slot, (i, d) in enumerate(zip(indices, known, strict=True)):
            nearer = distance < d
            indices[slot], known[slot] = jnp.where(nearer, new, i), jnp.where(nearer, distance, d)
            new, distance = jnp.where(nearer, i, new), jnp.where(nearer, d, distance)
        return (jnp.stack(indices), jnp.stack(known)), None

    return jax.lax.scan(place, (index, value), (candidates, values))[0]


def _sorted(index: Array, value: Array) -> tuple[Array, Array]:
    if len(index) == 1:
        return index, value
    value, index = jax.lax.sort((value, index), dimension=0, num_keys=1)
    return index, value
