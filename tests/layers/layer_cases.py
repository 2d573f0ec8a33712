"""Maps drawn by NumPy."""

import jax.numpy as jnp
import numpy as np


def draw(*shape, seed=1, dtype=np.float32):
    """Independent normal values."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)
