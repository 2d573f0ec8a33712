"""Two shapes of different kinds in one image, and where each is: where an explanation of either class must point."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int, PRNGKeyArray

from cnnjax.data.shapes import DOWN, KIND, KINDS, MIN_SIZE, RIGHT, render, sample
from cnnjax.door import checked
from cnnjax.errors import InputError


@checked()
def shape_pairs(
    key: PRNGKeyArray, n: int, *, size: int = 20
) -> tuple[Float32[Array, "{n} canvas canvas 1"], Int[np.ndarray, "{n} 2"], Bool[np.ndarray, "{n} 2 canvas canvas"]]:
    """Draw `n` images of two shapes, each as `sample` draws it within `size` pixels; the kinds and the pixels of each.

    The canvas is 2 `size` wide and high. The shapes lie in two of its four quarters, at random, so that none is at the
    centre and none hides the other. A pixel belongs to a shape where it is at least half covered. Whoever tells two
    shapes from the ground but not from each other points at the right one in half the images.

    Raises InputError for n < 1 and a size below 8.
    """
    if n < 1 or size < MIN_SIZE:
        raise InputError(f"n={n} must be positive, and size={size} at least {MIN_SIZE}")
    images, scenes, each = _drawn(key, n, size)
    return images, np.asarray(scenes[..., KIND]).astype(int), np.asarray(each) >= 0.5


@functools.partial(jax.jit, static_argnums=(1, 2))
def _drawn(key: PRNGKeyArray, n: int, size: int) -> tuple[Array, Array, Array]:
    """The images, the scenes of both shapes, and each shape alone."""
    first, second, quarters, kinds = jax.random.split(key, 4)
    scenes = jnp.stack([sample(k, n, size=size) for k in (first, second)], axis=1)
    # Every kind as often, the other one drawn among those left.
    other = jax.random.randint(kinds, (n,), 1, len(KINDS)).astype(scenes.dtype)
    scenes = scenes.at[:, 1, KIND].set((scenes[:, 0, KIND] + other) % len(KINDS))
    places = jax.vmap(lambda k: jax.random.permutation(k, 4)[:2])(jax.random.split(quarters, n))
    scenes = scenes.at[..., DOWN].add(((places // 2).astype(scenes.dtype) - 0.5) * size)
    scenes = scenes.at[..., RIGHT].add(((places % 2).astype(scenes.dtype) - 0.5) * size)
    each = render(scenes.reshape(-1, scenes.shape[-1]), canvas=2 * size).reshape(n, 2, 2 * size, 2 * size)
    return each.max(1)[..., None], scenes, each
