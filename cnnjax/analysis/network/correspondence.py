"""Correspondence: whether covering the same part in different images changes a layer's features alike."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import Images, finite_images
from cnnjax.analysis.inputs.layers import batched_activations
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.program.order import filled


@dataclasses.dataclass(frozen=True, eq=False)
class Correspondence:
    """How alike a layer's features change in a set of images; the less, the more alike."""

    distances: Float[np.ndarray, "images images"]
    """Of each pair the share of features whose change has another sign, `H(sign ε_i, sign ε_j) / units`."""
    units: int

    @property
    def delta(self) -> float:
        """`Δ = Σ_{i≠j} H(sign ε_i, sign ε_j)`, as the paper defines it, each pair counted twice."""
        return float(self.distances.sum() * self.units)

    @property
    def mean(self) -> float:
        """The mean of the distances over pairs, from 0 to 1, which the paper's table gives."""
        n = len(self.distances)
        return float(self.distances.sum() / (n * (n - 1)))


@checked()
def correspondence(f: Callable[[Array], Any], images: Images, covered: ArrayLike) -> Any:
    """The `Correspondence` of every array that `f` returns, as a tree like `f`'s result.

    `ε_i = f(x_i) − f(x̃_i)` for images x and the same images x̃ with a part covered, the left eye of each face. Signs
    are −1, 0 and 1, and any two that differ count 1. Compare it with that of parts covered at random.

    Raises InputError for fewer than two images, those that are no float images or not finite, `covered` of another
    shape or equal to the images, and for activations without a batch axis.
    Source: Zeiler & Fergus 2014, section 4.3.
    """
    images, covered = finite_images(images), finite_images(covered)
    if images.shape != covered.shape or len(images) < 2:
        raise InputError(f"images {images.shape} and covered {covered.shape}: give the same two or more, parts covered")
    same = (images == covered).reshape(len(images), -1).all(1)
    if same.any():
        raise InputError(f"image {int(same.argmax())} is the same in images and covered: nothing of it is covered")
    _, leaves, result = batched_activations(f, images)
    distances = compiled(_distances, f)(images, covered)
    units = [int(np.prod(leaf.shape[1:])) for leaf in leaves]
    found = [Correspondence(np.asarray(d, np.float64), n) for d, n in zip(distances, units, strict=True)]
    return filled(result, found)


def _distances(f: Callable[[Array], Any], images: Array, covered: Array) -> list[Array]:
    pairs = zip(*(jax.tree.leaves(f(x)) for x in (images, covered)), strict=True)
    # Compared, not subtracted: a difference may vanish, overflow or wrap around in the activation's dtype.
    changes = [((a > b).astype(jnp.int8) - (a < b).astype(jnp.int8)).reshape(len(a), -1) for a, b in pairs]
    return [(c[:, None] != c[None]).mean(-1) for c in changes]
