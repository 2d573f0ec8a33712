"""Euclidean norms that hold at every scale a float has."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact


def norm(a: Inexact[Array, "..."], axes: tuple[int, ...] | None = None) -> Float[Array, "..."]:
    """The root of the sum of squares over `axes`, by default all; in float32 at least.

    Squares are taken at the scale of the largest number, so that they neither vanish nor overflow before it does.
    """
    a = jnp.abs(a.astype(np.promote_types(a.dtype, np.float32)))
    largest = a.max(axes, initial=0, keepdims=True)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, jnp.ones_like(largest))
    return (scale * jnp.sqrt(jnp.sum(jnp.square(a / scale), axes, keepdims=True))).reshape(
        () if axes is None else [n for axis, n in enumerate(a.shape) if axis not in axes]
    )
