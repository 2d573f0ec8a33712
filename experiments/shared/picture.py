"""The picture that is shown to a network: a file, or one that a package carries."""

import numpy as np
from jaxtyping import Float

from cnnjax import data
from cnnjax.data.require import require
from cnnjax.ops.color import LUMA


def load_picture(source: str, *, side: int, channels: int) -> Float[np.ndarray, "height width channels"]:
    """The middle square of a picture in [0, 1], `side` pixels wide, grey for one channel.

    `source` is a file, one of `data.CARRIED_IMAGES`, or "digit", a handwritten one (UCI). Empty, it is the flower,
    or for one channel the digit. Raises InputError for what is neither, or no picture.
    """
    source = source or ("digit" if channels == 1 else "flower")
    square = data.central_square(_digit() if source == "digit" else data.load_image(source), side)
    return square @ np.asarray(LUMA, np.float32)[:, None] if channels == 1 else square


def _digit() -> Float[np.ndarray, "8 8 3"]:
    datasets = require("sklearn.datasets", purpose="the picture 'digit'", install="scikit-learn")
    return np.repeat(datasets.load_digits().images[0].astype(np.float32)[:, :, None] / 16, 3, 2)
