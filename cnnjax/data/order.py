"""The order in which an epoch visits the images."""

import jax
from jax.core import Tracer
from jaxtyping import Array, Int, Int32, PRNGKeyArray

from cnnjax.door import checked
from cnnjax.errors import InputError


@checked()
def epoch_order(seed_key: PRNGKeyArray, epoch: int | Int[Array, ""], n: int) -> Int32[Array, " n"]:
    """Return a permutation of `range(n)` that depends only on the seed and the epoch.

    A run that resumes in epoch 7 thus meets the images in the order that an uninterrupted one meets them. Raises
    `InputError` for a negative `epoch` or `n`.
    """
    if n < 0 or (not isinstance(epoch, Tracer) and epoch < 0):
        raise InputError(f"epoch={epoch} and n={n} must not be negative")
    return jax.random.permutation(jax.random.fold_in(seed_key, epoch), n)
