"""Coloured shapes: form is told only by grey and hue only by colour, so that a network has to see both.

A pixel is `l + c (cos h, sin h) · HUE_PLANE`: grey l, chroma c and hue h, with the hue plane at right angles to grey,
(1, 1, 1). The mean of red, green and blue is then l whatever the hue, and differences of channels do not know l.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, PRNGKeyArray

HUES = ("red", "green", "blue")
"""Names of the hues at 0°, 120° and 240° of the hue plane."""

HUE_PLANE = np.array([[2, -1, -1], [0, math.sqrt(3), -math.sqrt(3)]], np.float32) / np.float32(math.sqrt(6))
"""Two orthonormal directions (2, 3) at right angles to grey; the first is towards red."""

HUE_SPREAD = 25.0
"""Degrees by which a shape's hue may lie off its name's, either way."""
CHROMA = (0.15, 0.35)
CONTRAST = (0.1, 0.2)
"""Grey of the shape less the background's, halved, either way: dark on light is as frequent as light on dark."""
NOISE = 0.05
"""Standard deviation of the noise of each channel of each pixel."""


def paint(
    key: PRNGKeyArray, coverage: Float[Array, "n height width 1"], hues: Int[Array, " n"]
) -> Float32[Array, "n height width 3"]:
    """Colour each shape with a hue near its name's, on a background of any hue, and add noise; values in [0, 1].

    `coverage` is the share of each pixel that the shape covers, as `shapes.render` gives it, and `hues` are indices
    into `HUES`. Grey, contrast and chroma are drawn for each image on its own, alike for all hues.
    """
    draw = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(key, i), (6,)))(jnp.arange(len(hues)))
    turn, chroma, contrast, dark, middle, around = draw.T
    degrees = 120 * hues.astype(jnp.float32) + HUE_SPREAD * (2 * turn - 1)
    half = _between(CONTRAST, contrast) * jnp.where(dark < 0.5, -1, 1)
    grey = 0.5 + 0.1 * (middle - 0.5)
    shape = _colour(grey + half, _between(CHROMA, chroma), degrees)
    background = _colour(grey - half, CHROMA[0] / 2, 360 * around)
    picture = background[:, None, None] + coverage * (shape - background)[:, None, None]
    noise = jax.random.normal(jax.random.fold_in(key, len(hues)), picture.shape)
    return jnp.clip(picture + NOISE * noise, 0, 1)


def _between(ends: tuple[float, float], share: Array) -> Array:
    return ends[0] + (ends[1] - ends[0]) * share


def _colour(grey: Array, chroma: Array | float, degrees: Array) -> Array:
    angle = jnp.deg2rad(degrees)
    direction = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1) @ HUE_PLANE
    return grey[:, None] + jnp.asarray(chroma).reshape(-1, 1) * direction
