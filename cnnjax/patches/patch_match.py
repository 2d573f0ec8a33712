"""PatchMatch: nearest patches by guessing, and by asking the neighbours."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.patches.distances import NearestPatches, check_patches, quantize
from cnnjax.patches.patch_features import space_of
from cnnjax.patches.search import Prepared, prepare, search


@checked()
def patchmatch(
    source: Float[Array, "source_height source_width *c"],
    target: Float[Array, "height width *c"],
    *,
    key: Key[Array, ""],
    patch_size: int = 7,
    k: int = 1,
    iterations: int = 5,
    mask: Shaped[Array, "source_height source_width"] | None = None,
    exclusion: int = 0,
    stop_below: float | int = 0,
    initial: NearestPatches | None = None,
) -> NearestPatches:
    """The k (nearly) nearest source patches of every target patch, by propagation and random search.

    An iteration makes four passes with jumps j = 8, 4, 2, 1, each for all patches at once. In each, the patch at p
    considers what its neighbours at p ± (j, 0) and p ± (0, j) have found, moved by the same j, and random positions
    around its own finding, within radii that halve from the size of the source to 1. Candidates are compared by a
    lower bound of their distance, in a space of 28 dimensions; what an iteration found replaces what was known only
    where its exact distance is smaller, so that distances never rise.

    Images have values in [0, 1]. `mask` is True (or 1, or 255) at source pixels that no match may contain; matches
    closer to the patch's own position than `exclusion` pixels (in both axes) are forbidden too. The search ends after
    `iterations`, or earlier, when less than the fraction `stop_below` of the patches has improved in one. `initial` is
    a field to go on from; its distances are computed anew. The same key gives the same result. Raises InputError for
    images that do not fit each other, the mask or the patches, and for a mask that leaves no patch.

    Barnes et al. 2009, "PatchMatch: A randomized correspondence algorithm for structural image editing", section 3;
    jumps as in Rong & Tan 2006, "Jump flooding in GPU"; lower bounds as in Hel-Or & Hel-Or 2005.
    """
    source, target, mask = check_patches(source, target, mask, patch_size=patch_size, exclusion=exclusion, k=k)
    if not 0 <= iterations < 2**31 or not 0 <= stop_below <= 1:
        raise InputError(
            f"iterations={iterations} must not be negative or beyond 32 bits, and stop_below={stop_below} lie in [0, 1]"
        )
    shape = (target.shape[0] - patch_size + 1, target.shape[1] - patch_size + 1, k, 2)
    if initial is not None and initial.position.shape != shape:
        raise InputError(f"initial.position has shape {initial.position.shape}, but the field's is {shape}")
    # Two programs: in one the compiler computes what is prepared anew for every load, which takes twice as long in all.
    theirs, ours = _prepare(source, target, mask, patch_size=patch_size)
    return _search(
        theirs,
        ours,
        key,
        None if initial is None else initial.position,
        jnp.asarray(iterations, jnp.int32),
        jnp.asarray(stop_below, jnp.float32),
        patch_size=patch_size,
        channels=source.shape[2],
        exclusion=exclusion,
        k=k,
    )


@partial(jax.jit, static_argnames=("patch_size",))
def _prepare(source: Array, target: Array, mask: Array | None, *, patch_size: int) -> tuple[Prepared, Prepared]:
    images = jax.lax.optimization_barrier((quantize(source), quantize(target)))
    space = jax.lax.optimization_barrier(space_of(images, patch_size=patch_size))
    theirs, ours = (prepare(*x, space, patch_size=patch_size) for x in zip(images, (mask, None), strict=True))
    return theirs, ours


@partial(jax.jit, static_argnames=("patch_size", "channels", "exclusion", "k"))
def _search(
    source: Prepared,
    target: Prepared,
    key: Array,
    initial: Array | None,
    iterations: Array,
    stop_below: Array,
    *,
    patch_size: int,
    channels: int,
    exclusion: int,
    k: int,
) -> NearestPatches:
    return search(
        source,
        target,
        key,
        initial,
        iterations=iterations,
        stop_below=stop_below,
        patch_size=patch_size,
        channels=channels,
        exclusion=exclusion,
        k=k,
    )
