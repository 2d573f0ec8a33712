"""Translation-sensitivity maps: how far a shift moves an activation, against how far images lie apart."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from cnnjax.analysis.inputs.images import Images, finite_images
from cnnjax.analysis.inputs.norms import norm
from cnnjax.analysis.invariance.orbit_activations import Leaves, OrbitActivations
from cnnjax.analysis.transforms.orbits import OrbitFill, shifts
from cnnjax.door import checked
from cnnjax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class TranslationSensitivity:
    """How far shifts move one activation."""

    map: Float[np.ndarray, "size size"]
    """By how many pixels, from −k to k, the content moves down (rows) and right (columns): the mean distance from the
    activation of the image that has not moved, over `between_images`. 0 in the middle; 1 is another image."""
    between_images: float
    """The median distance between the activations of two different images, in units of the activation. Where it is 0,
    the map is NaN, or infinite where a shift changes what no image does."""

    @property
    def profile(self) -> Float[np.ndarray, " radii"]:
        """The mean of the map over the shifts whose length rounds to r pixels, for r from 0 to k."""
        k = len(self.map) // 2
        down, right = np.mgrid[-k : k + 1, -k : k + 1]
        radius = np.rint(np.hypot(down, right))
        return np.array([self.map[radius == r].mean() for r in range(k + 1)])


@checked("max_shift")
def translation_sensitivity_map(
    f: Callable[[Array], Any], images: Images, *, max_shift: int, fill: OrbitFill = "zero"
) -> Any:
    """The `TranslationSensitivity` of every array that `f` returns, as a tree like `f`'s result.

    `s(dy, dx) = mean_x ‖f(T_{dy, dx} x) − f(x)‖ / median_{x ≠ x'} ‖f(x) − f(x')‖`, Euclidean distances over all units,
    for every shift of up to `max_shift` pixels along both axes.

    `f` takes float images (batch, height, width, channels) and returns arrays with the batch as their first axis.
    `fill` is as for `shifts`. With n images there are n² / 2 distances between them; memory is that of two batches'
    activations, however many images there are.

    Raises InputError for fewer than two images, those that are no float images or not finite, a `max_shift` that
    leaves nothing of an image, and for activations without a batch axis or not finite.
    Source: Kauderer-Abrams 2017, "Quantifying Translation-Invariance in Convolutional Neural Networks".
    """
    orbit = shifts(max_shift, fill=fill)
    images = finite_images(images)
    if images.ndim == 4 and max_shift >= min(images.shape[1:3]):
        raise InputError(f"max_shift={max_shift} does not fit images of shape {images.shape}: give fewer pixels")
    activations = OrbitActivations(f, images, orbit, at_least=2)
    moved = np.zeros((len(activations.units), len(orbit.parameters)))
    pairs: list[list[np.ndarray]] = [[] for _ in activations.units]
    for i, (batch, counted) in enumerate(activations.batches()):
        reference = activations(batch, orbit.identity)
        for t, parameter in enumerate(orbit.parameters):
            for distances, total in zip(_distances(reference, activations(batch, parameter)), moved, strict=True):
                total[t] += np.asarray(distances, np.float64)[np.asarray(counted)].sum()
        for j, (other, also) in enumerate(activations.batches(i), i):
            later = np.outer(counted, also) & (np.triu(np.ones((len(counted),) * 2, bool), 1) | (j > i))
            for distances, found in zip(_pairs(reference, activations(other, orbit.identity)), pairs, strict=True):
                found.append(np.asarray(distances)[later])
    results = []
    for total, found in zip(moved / len(images), pairs, strict=True):
        between = float(np.median(np.concatenate(found)))
        distance = np.insert(total, len(total) // 2, 0).reshape(2 * max_shift + 1, -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            results.append(TranslationSensitivity(distance / between, between))
    return activations.tree(results)


@jax.jit
def _distances(a: Leaves, b: Leaves) -> list[Float[Array, " batch"]]:
    return [norm(p - q, _units(p)) for p, q in zip(a, b, strict=True)]


@jax.jit
def _pairs(a: Leaves, b: Leaves) -> list[Float[Array, "batch batch"]]:
    # By rows, so that no more than one batch of differences is held; by differences, so that equal ones are 0.
    return [jax.lax.map(lambda row, q=q: norm(row[None] - q, _units(q)), p) for p, q in zip(a, b, strict=True)]


def _units(a: Array) -> tuple[int, ...]:
    return tuple(range(1, a.ndim))
