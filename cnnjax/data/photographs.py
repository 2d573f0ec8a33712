"""Real photographs without a download: those that scikit-image and scikit-learn carry, and any image file."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from cnnjax.data.decode import decode
from cnnjax.data.require import require
from cnnjax.door import checked
from cnnjax.door.pictures import check_positions, checked_image
from cnnjax.errors import InputError
from cnnjax.files import printable

_SCIKIT_IMAGE = {
    "astronaut": "astronaut",
    "chelsea": "chelsea",
    "coffee": "coffee",
    "rocket": "rocket",
    "motorcycle": "stereo_motorcycle",
    "motorcycle_right": "stereo_motorcycle",
    "immunohistochemistry": "immunohistochemistry",
    "retina": "retina",
    "hubble": "hubble_deep_field",
    "brick": "brick",
    "grass": "grass",
    "gravel": "gravel",
}
_SCIKIT_LEARN = {"china": "china.jpg", "flower": "flower.jpg"}

CARRIED_IMAGES = (*_SCIKIT_IMAGE, *_SCIKIT_LEARN)
"""Names that `load_image` knows. `motorcycle` and `motorcycle_right` are the two views of one scene; `brick`, `grass`
and `gravel` are grey textures; china and flower (CC BY, by Vultee and Lopez) come with scikit-learn."""

TEXTURES = ("brick", "grass", "gravel")
"""Those of `CARRIED_IMAGES` that are textures."""


@checked()
def load_image(image: str | Path) -> Float32[np.ndarray, "height width 3"]:
    """The image of this name (see `CARRIED_IMAGES`) or in this file, RGB in [0, 1], upright.

    A name goes before a file of the same name; write `./astronaut` for the file. Raises InputError for what is
    neither, for a file that is no image, and where scikit-image, an optional package, is needed but absent.
    """
    name, path = printable(image), Path(image)
    if name in _SCIKIT_LEARN:
        pixels = require("sklearn.datasets", purpose=f"the image {name}", install="scikit-learn").load_sample_image(
            _SCIKIT_LEARN[name]
        )
    elif name in _SCIKIT_IMAGE:
        data = require("skimage.data", purpose=f"the image {name}", install="scikit-image")
        pixels = getattr(data, _SCIKIT_IMAGE[name])()
        if isinstance(pixels, tuple):  # left, right, disparity
            pixels = pixels[1 if name.endswith("right") else 0]
    elif os.path.isfile(path):  # noqa: PTH113, which raises for names that are too long
        pixels = decode([(name, path)], 1, channels=3, what=name)[0]
    else:
        raise InputError(f"{name} is no image file; give the path of one, or one of {', '.join(CARRIED_IMAGES)}")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return pixels.astype(np.float32) / np.float32(255)


@checked()
def resize(image: Float32[np.ndarray, "height width *c"], size: tuple[int, int]) -> Float32[np.ndarray, "h w *c"]:
    """An image at (height, width) `size`, bicubic, smoothed first where it shrinks, its values kept within [0, 1].

    Raises InputError for an image whose values are not in [0, 1], and a size below 1.
    """
    checked_image("image", image)
    if min(size) < 1:
        raise InputError(f"size={size}: give a height and a width of at least 1 pixel")
    check_positions("the resized image", size)
    resized = jax.image.resize(image, (*size, *image.shape[2:]), "cubic", antialias=True)
    return np.asarray(jnp.clip(resized, 0, 1))


@checked()
def central_square(image: Float32[np.ndarray, "height width *c"], side: int) -> Float32[np.ndarray, "{side} {side} *c"]:
    """The largest square in the middle of an image, resized to `side` pixels.

    Raises InputError for an image whose values are not in [0, 1], and a side below 1.
    """
    checked_image("image", image)
    if side < 1:
        raise InputError(f"side={side}: give a square of at least 1 pixel")
    height, width = image.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return resize(image[top : top + short, left : left + short], (side, side))
