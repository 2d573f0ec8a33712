"""The dynamic signal distribution of Lahoti et al. 2024: a signal of either sign in one patch, noise in all."""

from typing import NamedTuple

import numpy as np


class Task(NamedTuple):
    """How large images are, and how noisy; the signal has length 1."""

    patches: int
    """k, patches of an image."""
    dimension: int
    """d, numbers in a patch."""
    noise: float
    """σ, the standard deviation of the noise in each number."""


def draw_signal(random: np.random.Generator, task: Task) -> np.ndarray:
    """A vector (d,) of length 1, of uniform direction: what is to be found."""
    signal = random.standard_normal(task.dimension)
    return (signal / np.linalg.norm(signal)).astype(np.float32)


def draw_images(
    random: np.random.Generator, count: int, task: Task, signal: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, k, d) and their labels (count,), −1 or 1.

    `x = σ ξ`, ξ standard normal, plus `y w` in one patch; label y and patch are uniform, and the patch is not told.
    """
    labels = random.choice(np.array([-1, 1], np.float32), count)
    place = random.integers(0, task.patches, count)
    shape = (count, task.patches, task.dimension)
    images = np.float32(task.noise) * random.standard_normal(shape, dtype=np.float32)
    images[np.arange(count), place] += labels[:, None] * signal
    return images, labels


def linear_floor(task: Task) -> float:
    """The least error of a classifier that is linear in the image, `Φ(−1 / (σ √k))`.

    The best one adds the signal's direction up over patches: 1 in the mean, with a deviation of σ √k.
    """
    from scipy import special

    if task.noise == 0:
        return 0.0
    return float(special.ndtr(-1 / (task.noise * task.patches**0.5)))
