"""Filling a hole in an image with patches of the rest of it, coarse to fine."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Key, Shaped

from cnnjax.door import checked
from cnnjax.door.pictures import check_positions, check_unit_range, checked_mask, with_channels
from cnnjax.errors import InputError
from cnnjax.patches.distances import GRAIN, allowed_patches, check_values, quantize
from cnnjax.patches.hole import (
    PLACES,
    enlarge,
    nearest_allowed,
    patch_weights,
    pyramid,
    smooth,
    stay,
    texture,
    window,
    with_place,
)
from cnnjax.patches.patch_features import Space, space_of
from cnnjax.patches.search import Prepared, prepare, search

_ROUNDS = (12, 10, 8, 6, 4)  # at the coarsest level, the next, and so on; the last number from there on
_ITERATIONS = (5, 1)  # of the search: in a level's first round, and in the others, which go on from the one before
_LIKE = (0.85 / 255) ** 2  # a mean squared difference at which a patch is half as similar as an equal one


class Level(NamedTuple):
    """A finished level of the pyramid, and the energy after each of its rounds (see `inpaint`)."""

    image: Float32[np.ndarray, "height width c"]
    mask: Bool[np.ndarray, "height width"]
    energies: list[float]
    number: int = 1
    """Which level, from the coarsest, of so many."""
    levels: int = 1


@checked()
def inpaint(
    image: Float[Array | np.ndarray, "height width *c"],
    mask: Shaped[Array | np.ndarray, "height width"],
    *,
    key: Key[Array, ""],
    patch_size: int = 7,
    on_level: Callable[[Level], object] = lambda level: None,
) -> Float32[np.ndarray, "height width *c"]:
    """The image with a hole, where `mask` is True (or 1, or 255), filled: each of its patches looks like one outside.

    Beside its colours every pixel has two channels for how rough its surroundings are (Newson et al. 2014), known
    outside and filled like colours inside; without them smooth patches win. Two more say where it lies, so that of
    patches as alike the nearer wins. At every level of a pyramid, coarse to fine, it lowers the energy
    E = −Σ_q w_q s(d(q, n(q))) / Σ_q w_q over the patches q that touch the hole: d is the mean squared difference, over
    all these channels, to the known patch n(q), s = 1 / (1 + d / d₀) with d₀ of 0.85 grey levels the similarity, and
    w_q = 2^(−pixels into the hole, at most 40). Rounds alternate the search for n (`patchmatch`, going on from the
    round before) and the vote: each pixel of the hole becomes the mean of what the patches over it copy there,
    weighted by w_q s², which no other value beats while s is expanded about the present one. Neither raises E. The
    coarsest level begins smooth, each other with a vote on the same n, enlarged.

    Values lie in [0, 1]; known pixels come back unchanged to the bit. It is no function to be jitted: the levels'
    sizes follow from the mask. `on_level(level)` is called after each. Raises InputError for a mask
    of another size, of other values or that leaves no patch, and for an image with known values that are not in [0, 1],
    smaller than a patch, or with its patches too large to be counted in 32 bits.

    Wexler, Shechtman & Irani 2007, "Space-time completion of video", equations 1–5, with the search of Barnes et al.
    2009, section 4, the textures of Newson, Almansa, Fradet, Gousseau & Pérez 2014, "Video inpainting of complex
    scenes", and a similarity with heavier tails, which keeps patches that disagree from being averaged.
    """
    given = with_channels("image", np.asarray(image))
    hole = checked_mask(np.asarray(mask), given.shape[:2])
    check_unit_range("image", given[~hole])
    check(given, hole, patch_size)
    if not hole.any():
        return given.astype(np.float32).reshape(np.shape(image))
    known = np.where(hole[:, :, None], 0, np.round(np.clip(given, 0, 1) * GRAIN) / GRAIN).astype(np.float32)
    channels = known.shape[2]
    known = np.concatenate([known, texture(known, hole)], axis=2)
    levels = pyramid(known, hole, patch_size)
    space = _space(jnp.asarray(with_place(known)), patch_size=patch_size)
    filled, found = known, None
    for number, (pixels, inside) in enumerate(reversed(levels)):
        level, found = _fill_level(
            pixels,
            inside,
            found,
            jax.random.fold_in(key, number),
            space,
            patch_size=patch_size,
            rounds=_ROUNDS[min(number, len(_ROUNDS) - 1)],
        )
        level = level._replace(image=level.image[:, :, :channels], number=number + 1, levels=len(levels))
        filled = level.image
        on_level(level)
    return np.where(hole[:, :, None], filled, given.astype(np.float32)).reshape(np.shape(image))


def check(image: np.ndarray, hole: np.ndarray, patch_size: int) -> None:
    """Raise InputError for an image, a hole and patches that `inpaint` cannot work with."""
    checked_mask(hole, image.shape[:2])
    if not 1 <= patch_size <= min(hole.shape):
        raise InputError(
            f"patch_size={patch_size} does not fit into an image of {hole.shape[0]}×{hole.shape[1]} pixels"
        )
    check_values(patch_size, image.shape[2] + 2 + PLACES)  # texture has two
    check_positions("image", image.shape[:2])
    if hole.all():
        raise InputError("the mask covers the whole image; leave something to copy from")
    if not np.asarray(allowed_patches(jnp.asarray(hole), patch_size=patch_size)).any():
        raise InputError(
            f"no patch of {patch_size}×{patch_size} pixels lies outside the mask; give a smaller patch_size or mask"
        )


def _fill_level(
    image: np.ndarray,
    hole: np.ndarray,
    coarse: tuple[np.ndarray, tuple[int, int]] | None,
    key: Array,
    space: Space,
    *,
    patch_size: int,
    rounds: int,
) -> tuple[Level, tuple[np.ndarray, tuple[int, int]]]:
    """Fill a level, and say what its patches found and where its window lies; `coarse` is that of the one before."""
    rows, columns = window(hole, patch_size)
    first = coarse is None
    given = with_place(image)
    target = jnp.asarray((with_place(smooth(image, hole)) if first else given)[rows, columns])
    inside = jnp.asarray(hole[rows, columns])
    weights = patch_weights(hole, patch_size)[rows, columns][: inside.shape[0] - patch_size + 1]
    weights = jnp.asarray(weights[:, : inside.shape[1] - patch_size + 1])
    source, mask = jnp.asarray(given), jnp.asarray(hole)
    corner = (rows.start, columns.start)
    start = stay(corner, weights.shape) if first else enlarge(*coarse, corner, weights.shape)
    position = jnp.asarray(nearest_allowed(start, np.asarray(allowed_patches(mask, patch_size=patch_size))))
    if not first:
        target = _vote(source, target, inside, position, weights, patch_size=patch_size)
    prepared = _prepare(source, mask, space, patch_size=patch_size)
    energies = []
    for i in range(rounds):
        iterations = jnp.asarray(_ITERATIONS[min(i, 1)])
        state = (target, position, jax.random.fold_in(key, i), iterations)
        target, position, energy = _round(source, prepared, space, inside, weights, *state, patch_size=patch_size)
        energies.append(energy)
    filled = image.copy()
    filled[rows, columns] = np.where(
        np.asarray(inside)[:, :, None], np.asarray(target)[:, :, :-PLACES], filled[rows, columns]
    )
    return Level(filled, hole, [float(energy) for energy in energies]), (np.asarray(position)[:, :, 0], corner)


@partial(jax.jit, static_argnames=("patch_size",))
def _space(image: Array, *, patch_size: int) -> Space:
    return space_of([quantize(image)], patch_size=patch_size)


@partial(jax.jit, static_argnames=("patch_size",))
def _prepare(source: Array, mask: Array, space: Space, *, patch_size: int) -> Prepared:
    return prepare(quantize(source), mask, space, patch_size=patch_size)


@partial(jax.jit, static_argnames=("patch_size",))
def _round(
    source: Array,
    prepared: Prepared,
    space: Space,
    inside: Array,
    weights: Array,
    target: Array,
    position: Array,
    key: Array,
    iterations: Array,
    *,
    patch_size: int,
) -> tuple[Array, Array, Array]:
    """Search and vote; the new target, the positions, and the energy between the two."""
    nearest = search(
        prepared,
        prepare(quantize(target), None, space, patch_size=patch_size),
        key,
        position,
        iterations=iterations,
        stop_below=jnp.zeros(()),
        patch_size=patch_size,
        channels=source.shape[2],
    )
    similarity = 1 / (1 + nearest.distance[..., 0] / _LIKE)
    energy = -jnp.sum(weights * similarity) / jnp.sum(weights)
    voted = _vote(source, target, inside, nearest.position, weights * similarity**2, patch_size=patch_size)
    return voted, nearest.position, energy


@partial(jax.jit, static_argnames=("patch_size",))
def _vote(source: Array, target: Array, inside: Array, position: Array, weights: Array, *, patch_size: int) -> Array:
    """The target with each pixel of the hole the weighted mean of what the patches over it copy there, rounded.

    Rounded to the steps of the distance: of these values none has a lower energy. Only its place it keeps.
    """
    height, width, channels = target.shape
    corner = position[..., 0, 0] * source.shape[1] + position[..., 0, 1]
    flat = source.reshape(-1, channels)

    def add(i: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        y, x = i // patch_size, i % patch_size
        colors = flat.at[corner + y * source.shape[1] + x].get(mode="promise_in_bounds")
        new = (colors * weights[..., None], weights[..., None])
        size = weights.shape
        parts = [jax.lax.dynamic_slice(s, (y, x, 0), (*size, s.shape[2])) + n for s, n in zip(sums, new, strict=True)]
        first, second = (jax.lax.dynamic_update_slice(s, p, (y, x, 0)) for s, p in zip(sums, parts, strict=True))
        return first, second

    zeros = (jnp.zeros((height, width, channels)), jnp.zeros((height, width, 1)))
    total, weight = jax.lax.fori_loop(0, patch_size**2, add, zeros)
    mean = jnp.round(total / jnp.maximum(weight, 1e-30) * GRAIN) / GRAIN
    copied = jnp.arange(channels) < channels - PLACES
    return jnp.where(inside[..., None] & (weight > 0) & copied[None, None], mean, target)
