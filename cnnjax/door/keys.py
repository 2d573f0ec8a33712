"""Keys of `jax.random` at the door: a seed is not one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax.door.words import shown
from cnnjax.errors import InputError


def key_reader(axes: str) -> Callable[[str, Any, bool], Any]:
    """Read keys, typed or raw: a single one, or as many axes of them as `axes` names."""
    rank = len(axes.split())

    def take(name: str, value: Any, lenient: bool) -> Any:
        if isinstance(value, (jax.Array, np.ndarray)):
            typed = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
            raw = value.dtype == np.uint32 and value.shape[-1:] in ((2,), (4,))
            if (typed and value.ndim == rank) or (raw and value.ndim == rank + 1):
                return value
        seed = value if type(value) is int and 0 <= value < 2**32 else 0
        one = f"jax.random.key({seed})"
        if rank:
            raise InputError(f"{name}={shown(value)} must be an array of keys; give jax.random.split({one}, n).")
        raise InputError(f"{name}={shown(value)} must be a random key; give {one}.")

    return take
