"""The picture that is shown to a network: from a file, or one that scikit-learn carries."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from cnnjax.data.require import require
from cnnjax.errors import InputError

CARRIED = ("china", "flower", "digit")


def load_picture(source: str, *, side: int, channels: int) -> Float[np.ndarray, "height width channels"]:
    """The middle square of a picture in [0, 1], `side` pixels wide, grey for one channel.

    `source` is a file, or one of scikit-learn's: "china" and "flower", photos (CC BY), and "digit", a handwritten one
    (UCI). Empty, it is the flower, or for one channel the digit. Raises InputError for what is neither, or no picture.
    """
    image = require("PIL.Image", purpose="a picture", install="pillow")
    source = source or ("digit" if channels == 1 else "flower")
    if source in CARRIED:
        picture = image.fromarray(_carried(source))
    elif not Path(source).is_file():
        raise InputError(f"image={source} is no file; give one, or {', '.join(CARRIED)}")
    else:
        try:
            picture = image.open(source)
            picture.load()
        except OSError as error:
            raise InputError(f"{source} cannot be read as a picture: {error}") from error
    picture = picture.convert("L" if channels == 1 else "RGB")
    width, height = picture.size
    edge = min(width, height)
    left, top = (width - edge) // 2, (height - edge) // 2
    square = picture.crop((left, top, left + edge, top + edge)).resize((side, side), image.Resampling.BICUBIC)
    return np.asarray(square, np.float32).reshape(side, side, -1) / 255


def _carried(name: str) -> np.ndarray:
    datasets = require("sklearn.datasets", purpose=f"the picture {name!r}", install="scikit-learn")
    if name == "digit":
        return (datasets.load_digits().images[0] * (255 / 16)).astype(np.uint8)
    return datasets.load_sample_image(f"{name}.jpg")
