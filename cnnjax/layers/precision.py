"""The dtype of what must not be rounded: parameters, statistics and sums."""

from typing import Any

import jax.numpy as jnp
import numpy as np


def at_least_float32(dtype: Any) -> np.dtype:
    """float32, or float64 where `dtype` is."""
    return np.promote_types(jnp.dtype(dtype), np.float32)


def normalisation(dtype: Any) -> dict[str, Any]:
    """What Flax's normalisations are given here, of maps converted to `at_least_float32(dtype)`.

    The variance is the mean of the squared deviations. Flax's default, `E[x²] − E[x]²`, loses the deviation where the
    mean is a thousand times as large: beside a mean of 3000 one of 1 became 0 to 1.7.
    """
    wide = at_least_float32(dtype)
    return dict(dtype=wide, param_dtype=wide, force_float32_reductions=False, use_fast_variance=False)
