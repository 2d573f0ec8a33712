"""Three networks of one hidden layer, each within the next, trained by gradient descent on all images at once.

Each scores an image (k, d) by `f(x) = Σ φ(z_i)`, i from 1 to k, `φ(z) = sign(z) max(|z| − b_i, 0)`, its hidden units:

| kind | units | weights |
| --- | --- | ---: |
| cnn | `z_i = w · x_i`, x_i the i-th patch: local and shared | d |
| lcn | `z_i = w_i · x_i`: local | k d |
| fcn | `z_i = w_i · x`, x the whole image: neither | k² d |

A threshold is a part of its filter's length, `b_i = β |w_i|`, for noise passes a filter with a deviation of σ |w_i|. β
grows from 0 to its value in the first half of the training, since a unit that passes nothing learns nothing. The loss
is `mean(log(1 + exp(−y f(x))))`; its gradient goes through b, too.

In NumPy, by hand: a training takes milliseconds, each has its own size, and to compile one for each would take longer.
"""

from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["cnn", "lcn", "fcn"]

MOMENTUM = 0.9


class Recipe(NamedTuple):
    """How a network is trained."""

    threshold: float
    """β at the end."""
    steps: int
    learning_rate: float
    init: float = 0.01
    """Length of a filter at the start, about: small, so that what is learned outgrows it."""


def draw_weights(random: np.random.Generator, kind: Kind, patches: int, dimension: int, scale: float) -> np.ndarray:
    """Normal weights, filters of length `scale` or so: (d,) for cnn, (k, d) for lcn, (k, k d) for fcn."""
    shape = {"cnn": (dimension,), "lcn": (patches, dimension), "fcn": (patches, patches * dimension)}[kind]
    return (scale / shape[-1] ** 0.5 * random.standard_normal(shape)).astype(np.float32)


def scores(kind: Kind, weights: np.ndarray, images: np.ndarray, threshold: float) -> np.ndarray:
    """Score images (n, k, d) by f, (n,), whose sign is the answer. `threshold` is β."""
    z = _units(kind, weights, images)
    return (np.sign(z) * np.maximum(np.abs(z) - threshold * _lengths(weights), 0)).sum(1)


def loss_gradient(
    kind: Kind, weights: np.ndarray, images: np.ndarray, labels: np.ndarray, threshold: float
) -> np.ndarray:
    """The gradient of the loss by the weights, in their shape."""
    z, lengths = _units(kind, weights, images), _lengths(weights)
    passed = np.abs(z) > threshold * lengths
    sign = np.sign(z) * passed
    f = (z * passed - threshold * lengths * sign).sum(1)
    # That of log(1 + exp(−y f)) is −y / (1 + exp(y f)), written so that no exponential overflows.
    by_score = -labels * (0.5 - 0.5 * np.tanh(0.5 * labels * f)) / np.float32(len(labels))
    through_units = _by_weights(kind, by_score[:, None] * passed, images)
    if threshold == 0:
        return through_units
    by_length = -threshold * (by_score[:, None] * sign).sum(0)
    direction = weights / np.maximum(lengths[..., None] if weights.ndim == 2 else lengths, np.float32(1e-20))
    return through_units + (by_length[:, None] * direction if weights.ndim == 2 else by_length.sum() * direction)


def train(
    random: np.random.Generator, kind: Kind, images: np.ndarray, labels: np.ndarray, recipe: Recipe
) -> np.ndarray:
    """The weights after `recipe.steps` steps of gradient descent with momentum.

    It treats all directions of its input alike (for cnn and lcn, of a patch): turn the data, and the drawn weights, and
    the trained ones are turned. The theory's lower bounds are of such algorithms.
    """
    _, patches, dimension = images.shape
    weights = draw_weights(random, kind, patches, dimension, recipe.init)
    velocity = np.zeros_like(weights)
    for step in range(recipe.steps):
        threshold = recipe.threshold * min(1.0, 2 * step / recipe.steps)
        velocity = MOMENTUM * velocity + loss_gradient(kind, weights, images, labels, threshold)
        weights = weights - np.float32(recipe.learning_rate) * velocity
    return weights


def _lengths(weights: np.ndarray) -> np.ndarray:
    return np.sqrt((weights**2).sum(-1))


def _units(kind: Kind, weights: np.ndarray, images: np.ndarray) -> np.ndarray:
    """What the units see of images (n, k, d), z, (n, k)."""
    match kind:
        case "cnn":
            return images @ weights
        case "lcn":
            return (images.transpose(1, 0, 2) @ weights[:, :, None])[..., 0].T
        case "fcn":
            return images.reshape(len(images), -1) @ weights.T


def _by_weights(kind: Kind, by_units: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The derivative by the weights, of that by the units, (n, k)."""
    match kind:
        case "cnn":
            return by_units.ravel() @ images.reshape(-1, images.shape[-1])
        case "lcn":
            return (by_units.T[:, None] @ images.transpose(1, 0, 2))[:, 0]
        case "fcn":
            return by_units.T @ images.reshape(len(images), -1)
