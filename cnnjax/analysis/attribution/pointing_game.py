"""The pointing game: whether the strongest point of a map lies on the object."""

import numpy as np
from jaxtyping import Bool, Float

from cnnjax.door import checked
from cnnjax.errors import InputError


@checked()
def pointing_game(
    importance: Float[np.ndarray, " batch *space"],
    truth: Bool[np.ndarray, " batch *space"],
    *,
    tolerance: float | int = 0,
) -> Bool[np.ndarray, " batch"]:
    """Whether the maximum of each map lies on its object, or no further than `tolerance` pixels from it.

    Distances are Euclidean. Of several maxima the first in row-major order counts; a constant map points nowhere and
    misses. The mean over images is the accuracy. The source's is another one: the mean over classes of each class's
    accuracy, so that frequent classes do not decide. Average the images of each class first to compare with its
    numbers. Compare also with the accuracy of the image's centre, and with the share of the image that the object
    covers, which is a random point's.

    importance and truth are (batch, *space). Raises InputError where their shapes differ, for NaN, an object without a
    pixel, and a negative tolerance. Source: Zhang et al. 2018, "Top-down Neural Attention by Excitation Backprop",
    section 4.1, with 15 pixels on images of photographs.
    """
    importance, truth = np.asarray(importance), np.asarray(truth)
    if importance.shape != truth.shape or truth.dtype != bool or truth.ndim < 2:
        raise InputError(
            f"importance {importance.shape} and truth {truth.dtype}{truth.shape}: expected maps and masks alike"
        )
    if np.isnan(importance).any() or not tolerance >= 0:
        raise InputError(f"importance must not be NaN, nor tolerance={tolerance} negative")
    flat = truth.reshape(len(truth), -1)
    if not flat.any(1).all():
        raise InputError(f"image {int((~flat.any(1)).argmax())} has no object in truth: leave it out")
    hits = np.zeros(len(truth), bool)
    for i, (values, mask) in enumerate(zip(importance, truth, strict=True)):
        point = np.array(np.unravel_index(values.argmax(), values.shape))
        distances = np.sqrt(((np.argwhere(mask) - point) ** 2).sum(1))
        hits[i] = values.max() > values.min() and distances.min() <= tolerance
    return hits
