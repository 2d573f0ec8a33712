"""Smoothing that keeps outlines: what is small goes, and the edges of what is large stay."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cnnjax.door import checked
from cnnjax.door.arrays import check
from cnnjax.door.limits import Positive
from cnnjax.errors import InputError


@checked()
def rolling_guidance(
    x: Float[Array, "batch height width channels"],
    *,
    sigma: float | int,
    contrast: float | int = 0.1,
    steps: Positive = 4,
) -> Float[Array, "batch height width channels"]:
    """Remove what is smaller than `sigma` pixels, however strong, and keep the outlines of what is larger.

    `y_0 = 0`, `y_{t + 1} = B_t x`, `B_t` the bilateral filter along the columns after that along the rows, each
    `(B z)[p] = Σ_q w(p, q) z[q] / Σ_q w(p, q)`, `w(p, q) = exp(−(p − q)² / (2 sigma²) − ‖y_t[p] − y_t[q]‖² /
    (2 contrast²))`, q over the pixels of the image at most ⌈2 sigma⌉ away, colours measured together. So the first step
    is a Gaussian blur, which takes texture out of the guide; the others bring back the edges that it has left. What is
    thinner than texture is coarse goes with it. Means over the image are kept only roughly.

    x is (batch, height, width, channels), floating point, worked in float32 at least; sigma and steps are static, sigma
    is in pixels and contrast in units of x. Raises InputError for another shape or dtype, for no channels, a sigma or
    contrast that is not positive, and fewer than one step.
    Source: Zhang, Shen, Xu & Jia 2014, "Rolling Guidance Filter"; axis by axis as Pham & van Vliet 2005, so that it
    takes 2 (4 sigma + 1) sums for a pixel and not their square.
    """
    check("x", x, Float[Array, "batch height width channels"])
    if not x.shape[-1]:
        raise InputError(f"x has shape {x.shape}; give one channel at least.")
    for name, value in {"sigma": sigma, "contrast": contrast}.items():
        if value <= 0:
            raise InputError(f"{name}={value} must be positive.")
    return _rolled(x, float(sigma), float(contrast), steps)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _rolled(x: jax.Array, sigma: float, contrast: float, steps: int) -> jax.Array:
    def smooth(image: jax.Array) -> jax.Array:
        guide = jnp.zeros_like(image)
        for _ in range(steps):
            rows = _averaged(image, guide, sigma, contrast)
            columns = (rows.swapaxes(1, 2), guide.swapaxes(1, 2))
            guide = _averaged(*columns, sigma, contrast).swapaxes(1, 2)
        return guide

    # One image after the other stays in the cache, and channels first are whole vectors: a third of the time that the
    # batch takes at once, on two CPU cores.
    planes = jnp.moveaxis(x.astype(np.promote_types(x.dtype, np.float32)), -1, 1)
    return jnp.moveaxis(lax.map(smooth, planes), 1, -1).astype(x.dtype)


def _averaged(x: jax.Array, guide: jax.Array, sigma: float, contrast: float) -> jax.Array:
    """One image (channels, height, width) filtered along its width."""
    reach, channels, width = math.ceil(2 * sigma), len(x), x.shape[-1]
    # Beside the values a one for each pixel of the image: its sum is the weight of those that there are.
    padded = jnp.pad(jnp.concatenate([x, jnp.ones_like(x[:1]), guide]), ((0, 0), (0, 0), (reach, reach)))
    near = np.exp(-np.square(np.arange(-reach, reach + 1)) / (2 * sigma**2))

    def add(total: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        offset, weight = step
        there = lax.dynamic_slice_in_dim(padded, offset, width, axis=2)
        apart = jnp.square(there[channels + 1 :] - guide).sum(0, keepdims=True)
        return total + weight * jnp.exp(-apart / (2 * contrast**2)) * there[: channels + 1], None

    places = (jnp.arange(2 * reach + 1), jnp.asarray(near, x.dtype))
    total, _ = lax.scan(add, jnp.zeros((channels + 1, *x.shape[1:]), x.dtype), places)
    return total[:channels] / total[channels:]
