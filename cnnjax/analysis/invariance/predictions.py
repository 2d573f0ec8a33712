"""What a classifier says of images: of every one under every transform of an orbit, or of each as it is."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Shaped

from cnnjax.analysis.inputs.batches import batches, most_at_once
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import image_struct
from cnnjax.analysis.inputs.layers import output_of
from cnnjax.analysis.inputs.norms import wide
from cnnjax.analysis.transforms.orbits import Orbit
from cnnjax.door import checked
from cnnjax.door.words import shown
from cnnjax.errors import InputError, NotFiniteError
from cnnjax.program.tracing import shapes_of


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a classifier says of every image under every transform of an orbit."""

    classes: np.ndarray
    """`(transforms + 1, images)` int: the most probable class, the identity's first."""
    total_variation: np.ndarray
    """`(transforms, images)` in [0, 1]: half the L1 distance between the class probabilities and the identity's."""


@checked("orbit")
def predict(classify: Callable[[Array], Any], examples: ArrayLike, orbit: Orbit) -> Predictions:
    """Classify every example under every transform of the orbit, in batches inside `jit`.

    `classify` maps float images `(batch, height, width, channels)` to logits `(batch, classes)`, or to `(logits,
    activations)`, of which the activations are not computed. `examples` is an array of
    images, or any pytree with a leading example axis that `orbit.apply` turns into images.
    """
    n, most, _ = sizes(classify, examples, orbit)
    members = np.concatenate([orbit.identity[None], orbit.parameters])
    probabilities_of = compiled(_probabilities, classify, given=(orbit.apply,))
    together = min(max(1, most // min(n, most)), len(members))
    classes = np.empty((len(members), n), np.int32)
    variation = np.empty((len(members), n), np.float32)
    for images, count in batches(n, most):
        part = jax.tree.map(lambda a, images=images: a[images], examples)
        # All are dispatched before the first is awaited.
        groups = list(batches(len(members), together))
        results = [probabilities_of(part, members[rows]) for rows, _ in groups]
        reference, seen = np.asarray(results[0])[0, :count], slice(images[0], images[0] + count)
        for (rows, new), result in zip(groups, results, strict=True):
            probabilities = np.asarray(result)[:new, :count]
            if not np.isfinite(probabilities).all():
                raise NotFiniteError(f"classify gives logits that are not finite on images of the orbit {orbit.name}")
            classes[rows[:new], seen] = probabilities.argmax(-1)
            variation[rows[:new], seen] = 0.5 * np.abs(probabilities - reference).sum(-1)
    return Predictions(classes, variation[1:])  # without the identity's own


def sizes(classify: Callable[[Array], Any], examples: Any, orbit: Orbit) -> tuple[int, int, int]:
    """How many examples there are, how many images to classify at once, and how many classes.

    Raises InputError where these do not go together.
    """
    if not isinstance(orbit, Orbit):
        raise InputError(f"{shown(orbit)} is no orbit: give shifts(...), subpixel_shifts(...) or rotations(...)")
    n = _count(examples)
    return n, *_checked(classify, image_struct(jax.eval_shape(orbit.apply, examples, orbit.identity)))


def _count(examples: Any) -> int:
    """How many examples there are; raises InputError for none, and for numbers that are not finite."""
    leaves = jax.tree.leaves(examples)
    if not leaves or not all(np.ndim(leaf) for leaf in leaves):
        raise InputError("examples must be an array of images, or arrays with a leading example axis")
    if len(leaves[0]) == 0:
        raise InputError("no examples: invariance needs at least one image")
    if not all(np.isfinite(leaf).all() for leaf in map(np.asarray, leaves) if leaf.dtype.kind == "f"):
        raise InputError("images contain NaN or infinity: what is said of them means nothing; repair or drop them")
    return len(leaves[0])


def _checked(classify: Callable[[Array], Any], images: jax.ShapeDtypeStruct) -> tuple[int, int]:
    """How many of such images to classify at once, and how many classes there are.

    Raises InputError unless `classify` maps the images to logits.
    """
    result = shapes_of(classify, images)
    try:
        shape = output_of(result).shape
    except InputError:
        shape = ()
    if len(shape) != 2 or shape[0] != images.shape[0]:
        found = jax.tree.map(lambda leaf: leaf.shape, result)
        raise InputError(
            f"classify gives {found} for {images.shape[0]} images: expected logits (images, classes), by themselves, "
            "first in a tuple, or called logits"
        )
    return most_at_once(images.shape), shape[1]


@checked()
def classify_all(classify: Callable[[Array], Any], images: Shaped[np.ndarray, "images ..."]) -> np.ndarray:
    """The most probable class of each image `(n, height, width, channels)`: int32 `(n,)`, found in batches.

    `classify` as in `predict`. Images are uint8, of which 255 stands for 1, or floats, taken as they are; raises
    `InputError` for others.
    """
    if not len(images):
        raise InputError("no images: there is nothing to classify")
    if images.dtype != np.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images is of {images.dtype}: give uint8 from 0 to 255, or floats from 0 to 1")
    most, _ = _checked(classify, jax.ShapeDtypeStruct(images.shape, jnp.float32))
    classes_of = compiled(_classes, classify)
    parts = [classes_of(images[rows]) for rows, _ in batches(len(images), most)]
    return np.concatenate([np.asarray(part) for part in parts])[: len(images)]


def _classes(classify: Callable[[Array], Any], images: Array) -> Array:
    pixels = images.astype(jnp.float32)
    return output_of(classify(pixels / 255 if images.dtype == jnp.uint8 else pixels)).argmax(-1)


def _probabilities(apply: Callable, classify: Callable, examples: Any, parameters: Array) -> Array:
    images = jax.vmap(apply, (None, 0))(examples, parameters)
    logits = output_of(classify(images.reshape(-1, *images.shape[2:])))
    return jax.nn.softmax(wide(logits)).reshape(*images.shape[:2], -1)
