"""A classifier behind a function of images: moments of its maps, which no moving about changes, and a linear map."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

POWERS = 4
_RIDGE = 1e-3
_ROUNDING = 1e-5
"""Of a moment, over that of absolute values."""


def features(maps: Float[Array, "batch side side channels"]) -> Float[Array, "batch features"]:
    """The mean of a, a², a³ and a⁴ over each map a: a map that moves keeps them."""
    return jnp.concatenate([(maps**power).mean((1, 2)) for power in range(1, 1 + POWERS)], -1)


def fitted(f: Partial, images: np.ndarray, labels: Int[np.ndarray, " images"], classes: int) -> tuple[Partial, Partial]:
    """The moments of f's maps, each less its mean and over its deviation, and the logits that are a linear map of them.

    The map is fitted to the images by least squares, with a little ridge.
    """
    maps = f(jnp.asarray(images))
    raw, size = (np.asarray(features(a), np.float64) for a in (maps, jnp.abs(maps)))
    mean, deviation = raw.mean(0), raw.std(0)
    # A moment that is 0 by symmetry, as the mean behind a band pass, differs by rounding only: it tells nothing.
    deviation = np.where(deviation > _ROUNDING * size.mean(0), deviation, np.inf)
    x = np.concatenate([(raw - mean) / deviation, np.ones((len(raw), 1))], 1)
    target = np.eye(classes)[labels]
    weights = np.linalg.solve(x.T @ x + _RIDGE * len(x) * np.eye(x.shape[1]), x.T @ target)
    scale = {"mean": mean, "inverse": 1 / deviation}
    layers = {name: jnp.asarray(value, jnp.float32) for name, value in (scale | {"weights": weights}).items()}
    parameters = (f.args, layers)
    return Partial(_standard(f.func), parameters), Partial(_logits(f.func), parameters)


# One function for each that is read out, so that what is compiled for it is found again.


@functools.cache
def _standard(apply: Callable[..., Array]) -> Callable[[Any, Array], Array]:
    def standard(parameters: Any, x: Array) -> Array:
        args, layers = parameters
        return (features(apply(*args, x)) - layers["mean"][None]) * layers["inverse"][None]

    return standard


@functools.cache
def _logits(apply: Callable[..., Array]) -> Callable[[Any, Array], Array]:
    def logits(parameters: Any, x: Array) -> Array:
        weights = parameters[1]["weights"]
        return _standard(apply)(parameters, x) @ weights[:-1] + weights[-1:]

    return logits
