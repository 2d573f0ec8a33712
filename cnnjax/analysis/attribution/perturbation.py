"""Deletion and insertion: how fast the right class goes, or comes, with the pixels that a map calls important."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import Images, finite_images
from cnnjax.analysis.inputs.layers import checked_labels, find_logits
from cnnjax.analysis.inputs.norms import wide
from cnnjax.door import checked
from cnnjax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class PerturbationCurve:
    """The probability of a class while pixels are exchanged, the most important first."""

    fraction: Float[np.ndarray, " steps"]
    """Of the pixels that have been exchanged, from 0 to 1."""
    probability: Float[np.ndarray, "images steps"]
    labels: Int[np.ndarray, " images"]
    """The class of each image."""

    @property
    def auc(self) -> Float[np.ndarray, " images"]:
        """The area under each curve: by deletion the less, by insertion the more, the better the map."""
        return np.trapezoid(self.probability, self.fraction, axis=1)


@checked()
def deletion(
    f: Callable[[Array], Any],
    images: Images,
    importance: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    logits: str | None = None,
    background: ArrayLike = 0.0,
    steps: int = 20,
) -> PerturbationCurve:
    """The probability of each image's class as its pixels become background, the most important first.

    `importance` (batch, *space) ranks the pixels; of equals the first in row-major order goes first. `labels` (batch,)
    are by default the most probable classes of the images. `logits` names that activation of f, (batch, classes), by
    default the network's output. `background` is a number or images that can be broadcast: what stands in for nothing
    changes the result, so report it, and use the same for all that you compare. Compare with a random order.

    Raises InputError for images that are no float images or not finite, for importance, labels or background that do
    not fit, and unless 0 < steps <= pixels. Source: Petsiuk, Das & Saenko 2018, "RISE", section 4.2; the code published
    with it exchanges 224 pixels a step in images of 224×224, here there are `steps` steps of equal shares.
    """
    images, background = _checked(images, background)
    return _curve(f, images, background, images, importance, labels, logits, steps)


@checked()
def insertion(
    f: Callable[[Array], Any],
    images: Images,
    importance: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    logits: str | None = None,
    background: ArrayLike = 0.0,
    steps: int = 20,
) -> PerturbationCurve:
    """The probability of each image's class as its pixels replace the background, the most important first.

    Everything is as for `deletion`, the `background` of 0 too. There it differs from the source, which starts from
    blurred images, so that the borders of what is filled in say nothing. Give blurred images as `background` to compare
    with its numbers; the code published with it blurs by a Gaussian of 5 pixels, cut to 11×11.
    """
    images, background = _checked(images, background)
    return _curve(f, background, images, images, importance, labels, logits, steps)


def _checked(images: Any, background: Any) -> tuple[np.ndarray, np.ndarray]:
    images = finite_images(images)
    behind = np.asarray(background, images.dtype)
    sizes = zip(behind.shape[::-1], images.shape[::-1], strict=False)
    if behind.ndim > images.ndim or not all(n in (1, m) for n, m in sizes) or not np.isfinite(behind).all():
        raise InputError(f"background of shape {behind.shape}: give finite numbers that fit images {images.shape}")
    return images, np.broadcast_to(behind, images.shape)


def _curve(
    f: Callable[[Array], Any],
    start: np.ndarray,
    end: np.ndarray,
    images: np.ndarray,
    importance: Any,
    labels: Any,
    logits: str | None,
    steps: int,
) -> PerturbationCurve:
    # In floats: of unsigned numbers there are no negative ones to rank by.
    importance = np.asarray(importance, np.float64)
    if importance.shape != images.shape[:-1] or np.isnan(importance).any():
        raise InputError(
            f"importance has shape {importance.shape}: expected numbers {images.shape[:-1]}, none of them NaN"
        )
    flat = importance.reshape(len(images), -1)
    pixels = flat.shape[1]
    if not 0 < steps <= pixels:
        raise InputError(f"steps={steps} must be positive, and no more than the {pixels} pixels")
    position, classes = find_logits(f, images, logits)
    order = np.argsort(-flat, axis=1, kind="stable")
    rank = np.empty_like(order, np.int32)
    np.put_along_axis(rank, order, np.arange(pixels, dtype=np.int32)[None], axis=1)
    rank = rank.reshape(importance.shape)
    probabilities = compiled(_probabilities, f, static=("position",))
    counts = np.round(np.linspace(0, pixels, steps + 1)).astype(np.int32)
    if labels is None:
        labels = np.asarray(probabilities(images, images, rank, counts[0], position=position)).argmax(1)
    labels = checked_labels(labels, len(images), classes)
    each = [np.asarray(probabilities(start, end, rank, n, position=position)) for n in counts]
    probability = np.stack([p[np.arange(len(labels)), labels] for p in each], axis=1)
    return PerturbationCurve(counts / pixels, probability.astype(np.float64), labels)


def _probabilities(
    f: Callable[[Array], Any], start: Array, end: Array, rank: Array, count: Array, position: int
) -> Float[Array, "batch classes"]:
    mixed = jnp.where(rank[..., None] < count, end, start)
    return jax.nn.softmax(wide(jax.tree.leaves(f(mixed))[position]))
