"""Many images, a few at a time: batches that fit in memory, all of one size, so that a program is compiled once."""

import math
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cnnjax import runtime


def batches(count: int, size: int) -> Iterator[tuple[Int[np.ndarray, " size"], int]]:
    """Rows to take at a time, `size` or all of them, and how many are new: the last row fills up the last batch."""
    size = min(size, count)
    for start in range(0, count, size):
        yield np.minimum(np.arange(start, start + size), count - 1), min(size, count - start)


def most_at_once(shape: tuple[int, ...]) -> int:
    """How many images of a batch with this shape, (batch, *space, channels), are evaluated at once."""
    return runtime.evaluation_batch(math.prod(shape[1:-1]))


def even_size(count: int, most: int) -> int:
    """The size of the fewest batches of at most so many, which are as equal as can be."""
    return math.ceil(count / math.ceil(count / most))


def image_batches(images: np.ndarray) -> Iterator[tuple[Float[Array, "size *space channels"], Int[np.ndarray, " new"]]]:
    """The images in even batches on the device, and which of them are new in each: its first ones."""
    for rows, count in batches(len(images), even_size(len(images), most_at_once(images.shape))):
        yield jnp.asarray(images[rows]), rows[:count]
