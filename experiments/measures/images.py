"""The pictures: smooth textures in a disc, of a few classes that no transform changes, on a canvas of any size."""

import numpy as np
from jaxtyping import Float, Int

CLASSES = 4
RADIUS = 8.0
"""Of the disc, in pixels."""
EDGE = 1.0
"""Over how many pixels the disc fades: it must be as smooth as the textures, to be turned without aliasing."""
SMOOTHNESS = 2.0
"""Standard deviation in pixels of the Gaussian that the textures are blurred by."""
LEAST = 20
"""Side of the least canvas that holds the disc."""
_OWN = 0.5
"""Standard deviation of what an image has of its own, over that of what its class has."""
TEXTURE_SIDE = 64
"""Of the square that textures are drawn on, for every canvas the same."""


def draw(
    count: int, side: int, *, seed: int, part: int
) -> tuple[Float[np.ndarray, "count side side 1"], Int[np.ndarray, " count"]]:
    """Images and their classes, in turn; `part` draws others of the same classes.

    An image is the texture of its class and half as much of a texture of its own: whatever is equal under a transform
    of the picture tells its class as well as before. Canvases of different sides hold the same pictures in the middle.
    """
    ours = np.random.default_rng((seed, 0))
    templates = _textures(ours, CLASSES)
    labels = np.arange(count) % CLASSES
    textures = templates[labels] + _OWN * _textures(np.random.default_rng((seed, 1 + part)), count)
    place = np.arange(TEXTURE_SIDE) - (TEXTURE_SIDE - 1) / 2
    distance = np.hypot(place[:, None], place[None])
    # Bright on the whole: of textures about 0, the mean would be rounding.
    pictures = (1 + textures) / (1 + np.exp((distance - RADIUS) / EDGE))
    return _on_canvas(pictures, side)[..., None].astype(np.float32), labels.astype(np.int32)


def _textures(rng: np.random.Generator, count: int) -> Float[np.ndarray, "count height width"]:
    """Gaussian textures of deviation 1, circular."""
    frequency = np.fft.fftfreq(TEXTURE_SIDE)
    squared = frequency[:, None] ** 2 + frequency[None] ** 2
    spectrum = np.fft.fft2(rng.normal(size=(count, TEXTURE_SIDE, TEXTURE_SIDE))) * np.exp(
        -2 * (np.pi * SMOOTHNESS) ** 2 * squared
    )
    textures = np.fft.ifft2(spectrum).real
    return textures / textures.std((1, 2), keepdims=True)


def _on_canvas(pictures: np.ndarray, side: int) -> np.ndarray:
    """The middle of the pictures, or the pictures in the middle of a larger canvas."""
    margin = (side - TEXTURE_SIDE) // 2
    if margin >= 0:
        return np.pad(pictures, [(0, 0), (margin, margin), (margin, margin)])
    return pictures[:, -margin:margin, -margin:margin]
