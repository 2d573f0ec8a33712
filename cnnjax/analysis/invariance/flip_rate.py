"""The mean flip rate of a classifier along a path of transformations."""

from collections.abc import Callable
from typing import Any

from jax.typing import ArrayLike
from jaxtyping import Array

from cnnjax.analysis.invariance.consistency import image_columns
from cnnjax.analysis.invariance.predictions import predict
from cnnjax.analysis.transforms.orbits import Orbit
from cnnjax.door import checked
from cnnjax.errors import InputError


@checked("orbit")
def flip_rate(classify: Callable[[Array], Any], images: ArrayLike, orbit: Orbit) -> float:
    """How often the predicted class changes from one frame of an orbit's paths to the next, in [0, 1].

    `mean_x mean_j [c(x_j) ≠ c(x_{j−1})]`, x_j being the frames of `orbit.paths`, neighbours on the path. It is the
    score of that name of `consistency`, see there for the arguments. For perturbations that are noise the source
    compares each frame with the first instead: that is 1 − consistency.

    Raises InputError as `predict` does, and for an orbit without paths.
    Source: Hendrycks & Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations", section 4.2, the flip probability FP; what they call the flip rate is that over AlexNet's.
    """
    if isinstance(orbit, Orbit) and not orbit.paths:
        raise InputError(f"the orbit {orbit.name} has no paths: give it walks in small steps, `Orbit.paths`")
    predictions = predict(classify, images, orbit)
    return float(image_columns(predictions, predictions.classes[0], orbit)["flips"].mean())
