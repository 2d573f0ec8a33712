"""Initialisers of kernels `(*window, in, out)`: functions of a key, a shape and a dtype."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float, Key

from cnnjax.door import checked
from cnnjax.door.limits import Dtype
from cnnjax.errors import InputError

# The fan-in of (*window, in, out) is |window| · in: a group axis, being summed over, counts as one of the window's.
he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
"""Standard deviation √(2 / fan in): rectified maps keep their variance through depth (He et al. 2015, eq. 10)."""

lecun_normal = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
"""Standard deviation √(1 / fan in): linear and tanh-like maps keep theirs (LeCun et al. 1998, section 4.6, eq. 16)."""


@checked()
def delta_orthogonal(key: Key[Array, ""], shape: tuple[int, ...], dtype: Dtype) -> Float[Array, "*shape"]:
    """A random matrix with orthonormal rows at the centre of an otherwise zero kernel `(*window, in, out)`.

    `w[j] = H δ(j = (k − 1) // 2)` with `H Hᵀ = 1`, so a linear convolution of stride 1 that pads by `(k − 1) // 2`
    turns every pixel's channels and keeps their norm.

    Raises `InputError` unless out ≥ in and the window has one or two axes. Source: Xiao et al. 2018, algorithm 1.
    """
    if len(shape) not in (3, 4) or shape[-1] < shape[-2]:
        raise InputError(
            f"delta_orthogonal cannot fill a kernel of shape {tuple(shape)}: it needs (length, in, out) or "
            "(height, width, in, out) with out ≥ in, as fewer outputs cannot keep the norm; widen the layer or use "
            "he_normal."
        )
    return jax.nn.initializers.delta_orthogonal()(key, shape, dtype)
