"""The order in which an epoch visits the images."""

import jax
from jaxtyping import Array, Int32, PRNGKeyArray, ScalarLike


def epoch_order(seed_key: PRNGKeyArray, epoch: ScalarLike, n: int) -> Int32[Array, " n"]:
    """Return a permutation of `range(n)` that is a function of the seed and the epoch alone.

    A run that resumes in epoch 7 thus meets the images in the order that an uninterrupted one meets them.
    """
    return jax.random.permutation(jax.random.fold_in(seed_key, epoch), n)
