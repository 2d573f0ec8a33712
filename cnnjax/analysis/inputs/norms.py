"""Sums and Euclidean norms that hold at every scale and in every dtype that an activation has."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, Shaped


def wide(a: Shaped[Array | np.ndarray, "..."]) -> Inexact[Array, "..."]:
    """The array in float32 at least, to subtract and sum in: float16 ends at 65,504, bfloat16 has 3 digits."""
    return jnp.asarray(a).astype(wide_dtype(a.dtype))


def wide_dtype(dtype: Any) -> Any:
    """The dtype itself where it is float64 or complex, float32 otherwise."""
    return dtype if dtype == jnp.float64 or jnp.issubdtype(dtype, jnp.complexfloating) else jnp.float32


def norm(a: Inexact[Array, "..."], axes: tuple[int, ...] | None = None) -> Float[Array, "..."]:
    """The root of the sum of squares over `axes`, by default all; in float32 at least.

    Squares are taken at the scale of the largest number, so that they neither vanish nor overflow before it does.
    """
    a = jnp.abs(wide(a))
    scale = scale_of(a, axes)
    return (scale * jnp.sqrt(jnp.sum(jnp.square(a / scale), axes, keepdims=True))).reshape(
        () if axes is None else [n for axis, n in enumerate(a.shape) if axis not in axes]
    )


def scale_of(a: Inexact[Array, "..."], axes: tuple[int, ...] | None = None) -> Float[Array, "..."]:
    """What numbers are divided by before they are squared, which changes no digit of them: a power of two.

    It is the largest one below the absolute values over `axes`, by default all, which are kept with size 1; it is 1
    where they are 0 or not finite.
    """
    largest = jnp.abs(a).max(axes, initial=0, keepdims=True)
    power = jnp.ldexp(jnp.ones_like(largest), jnp.frexp(largest)[1] - 1)
    usual = (largest >= jnp.finfo(largest.dtype).tiny) & jnp.isfinite(largest)
    return jnp.where(usual, power, jnp.ones_like(largest))
