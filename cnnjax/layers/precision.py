"""The dtype of what must not be rounded: parameters, statistics and sums."""

from typing import Any

import jax.numpy as jnp
import numpy as np


def at_least_float32(dtype: Any) -> np.dtype:
    """float32, or float64 where `dtype` is."""
    return np.promote_types(jnp.dtype(dtype), np.float32)
