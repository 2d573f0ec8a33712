"""Patches of an image in an order of chance: what is in them stays, where it is goes."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, Shaped

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.padding import per_axis


@checked()
def shuffle_patches(
    key: PRNGKeyArray, images: Shaped[Array, "batch height width channels"], *, grid: int | Sequence[int]
) -> Shaped[Array, "batch height width channels"]:
    """Cut each image into `grid` × `grid` patches, or (rows, columns) of them, and put them together in another order.

    No patch stays where it was: the order is one cycle through all, each cycle equally likely (Sattolo 1986), and
    another one for each image. Every patch has what it had, and the image its histogram; with a grid as fine as the
    image's pixels nothing else is left. The first images do not depend on how many there are.

    Raises `InputError` for a grid that is not one or two positive ints, fewer than two patches, and where they do not
    divide the height and the width evenly.
    """
    rows, columns = per_axis(grid, 2, name="grid")
    _, height, width, _ = images.shape
    if rows * columns < 2:
        raise InputError(f"grid={grid}: give at least two patches, as 2 or as (1, 2), rows and columns")
    if height * width < 2:
        raise InputError(f"images are {height}×{width} pixels: there is nothing to shuffle in fewer than two")
    if height % rows or width % columns:
        parts = _divisor(height, rows), _divisor(width, columns)
        # Of sides that only 1 and themselves divide, (1, 1) may be the nearest.
        fitting = parts if max(parts) > 1 else (height, width)
        raise InputError(
            f"grid={grid} does not cut images of {height}×{width} pixels evenly: give divisors of both, such as "
            f"{fitting}"
        )
    return _shuffled(key, images, rows, columns)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _shuffled(key: PRNGKeyArray, images: Array, rows: int, columns: int) -> Array:
    batch, height, width, channels = images.shape
    down, across = height // rows, width // columns
    patches = images.reshape(batch, rows, down, columns, across, channels).swapaxes(2, 3)
    patches = patches.reshape(batch, rows * columns, down, across, channels)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(batch))
    shuffled = jax.vmap(lambda k, own: own[_cycle(k, rows * columns)])(keys, patches)
    shuffled = shuffled.reshape(batch, rows, columns, down, across, channels).swapaxes(2, 3)
    return shuffled.reshape(images.shape)


def _cycle(key: PRNGKeyArray, n: int) -> Array:
    """Where each place takes its patch from: along a circle through all places in an order of chance."""
    order = jax.random.permutation(key, n)
    return jnp.zeros(n, order.dtype).at[order].set(jnp.roll(order, -1))


def _divisor(length: int, near: int) -> int:
    """The divisor of a length nearest to a number."""
    return min((n for n in range(1, length + 1) if length % n == 0), key=lambda n: (abs(n - near), n))
