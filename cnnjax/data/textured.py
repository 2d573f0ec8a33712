"""Textured shapes: form, hue and texture each tell the class alone, and each can be left out of the same picture.

A pixel is `l + c (cos h, sin h) · HUE_PLANE`: grey l, chroma c and hue h, with the hue plane at right angles to luma,
so that `ops.grayscale` gives l whatever the hue. Texture is a grating in l, inside the shape alone.
"""

import math
from collections.abc import Collection

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, PRNGKeyArray

from cnnjax.ops.color import LUMA

CUES = ("shape", "texture", "color")
CLASSES = 8

HUE_SPREAD = 12.0
"""Degrees by which a shape's hue may lie off its class's, either way; classes are 45° apart."""
CHROMA = (0.12, 0.2)
CONTRAST = (0.1, 0.16)
"""Grey of the shape less the background's, halved, either way: dark on light is as frequent as light on dark."""
AMPLITUDE = (0.08, 0.12)
"""Of the grating."""
PERIODS = (2.6, 4.2)
"""Pixels from crest to crest: of the classes 0 to 3 and of 4 to 7, each at 0°, 45°, 90° and 135°."""
TURN = 6.0
"""Degrees by which a grating may lie off its class's direction, either way; its phase is any."""
NOISE = 0.03
"""Standard deviation of the noise of each channel of each pixel."""


def _hue_plane() -> np.ndarray:
    """Two orthonormal directions (2, 3) at right angles to luma; the first is the most red of them."""
    luma = np.asarray(LUMA) / np.linalg.norm(LUMA)
    red = np.array([1.0, 0, 0]) - luma[0] * luma
    red /= np.linalg.norm(red)
    return np.stack([red, np.cross(luma, red)]).astype(np.float32)


HUE_PLANE = _hue_plane()


def paint(
    key: PRNGKeyArray,
    coverage: Float[Array, "n height width 1"],
    classes: Int[Array, " n"],
    *,
    without: Collection[str] = (),
) -> Float32[Array, "n height width 3"]:
    """Colour and texture each shape as its class has it, on a background of any hue, and add noise; values in [0, 1].

    `coverage` is the share of each pixel that the shape covers, as `shapes.render` gives it. Grey, contrast, chroma and
    the grating's phase are drawn for each image on its own, alike for all classes. `without` names cues to leave out:
    the same pictures without outline (the figure fills the picture), without grating, or without chroma.
    """
    draw = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(key, i), (9,)))(jnp.arange(len(classes)))
    hue, chroma, contrast, dark, middle, around, strength, turn, phase = draw.T
    half = _between(CONTRAST, contrast) * jnp.where(dark < 0.5, -1, 1)
    grey = 0.5 + 0.1 * (middle - 0.5)
    colored = 0.0 if "color" in without else 1.0
    degrees = 45 * classes.astype(jnp.float32) + HUE_SPREAD * (2 * hue - 1)
    shape = _color(grey + half, colored * _between(CHROMA, chroma), degrees)[:, None, None]
    background = _color(grey - half, colored * CHROMA[0] * jnp.ones_like(grey), 360 * around)[:, None, None]
    if "texture" not in without:
        wave = _grating(coverage.shape[1], coverage.shape[2], classes, TURN * (2 * turn - 1), 2 * math.pi * phase)
        shape = shape + _between(AMPLITUDE, strength)[:, None, None, None] * wave
    covered = jnp.ones_like(coverage) if "shape" in without else coverage
    picture = background + covered * (shape - background)
    noise = jax.random.normal(jax.random.fold_in(key, len(classes)), picture.shape)
    return jnp.clip(picture + NOISE * noise, 0, 1)


def _grating(height: int, width: int, classes: Array, turn: Array, phase: Array) -> Array:
    """Sines of each class's direction and period, (n, height, width, 1)."""
    angle = jnp.deg2rad(45 * (classes % 4).astype(jnp.float32) + turn)[:, None, None, None]
    period = jnp.asarray(PERIODS)[classes // 4][:, None, None, None]
    rows = jnp.arange(height, dtype=jnp.float32)[None, :, None, None]
    columns = jnp.arange(width, dtype=jnp.float32)[None, None, :, None]
    along = jnp.cos(angle) * columns + jnp.sin(angle) * rows
    return jnp.sin(2 * math.pi * along / period + phase[:, None, None, None])


def _between(ends: tuple[float, float], share: Array) -> Array:
    return ends[0] + (ends[1] - ends[0]) * share


def _color(grey: Array, chroma: Array, degrees: Array) -> Array:
    angle = jnp.deg2rad(degrees)
    direction = jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1) @ HUE_PLANE
    return grey[:, None] + chroma[:, None] * direction
