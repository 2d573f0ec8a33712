"""Invariance curves: how far a transform of growing strength takes each layer's features, and the right class."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr
from jaxtyping import Array, Float, Int

from cnnjax import runtime
from cnnjax.analysis.attribution.backward.project import batches
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import Images
from cnnjax.analysis.inputs.norms import norm, wide
from cnnjax.analysis.inputs.units import checked_labels, find_logits
from cnnjax.analysis.invariance.orbit_activations import check_returns_arrays, finite_images
from cnnjax.analysis.transforms.geometric import Transform
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.program.tracing import shapes_of


@checked()
def invariance_curve(f: Callable[[Array], Any], images: Images, transforms: Sequence[Transform]) -> Any:
    """The distance of each activation from that of the untransformed image, as a tree like `f`'s result.

    `d[t, i] = ‖f(T_t x_i) − f(x_i)‖ / ‖f(x_i)‖`, `(transforms, images)` float64: Euclidean norms over all units; 0 for
    an invariant activation, √2 for one that has become orthogonal to what it was at the same length. NaN where the
    activation of the image itself is 0. A curve is the mean over images against the transforms' strengths:
    `[Shift((0, d), fill="zero") for d in range(-8, 9)]`, `[Rotation(a) for a in range(0, 360, 15)]`.

    Transforms say how they resample and what comes in at the border, which makes part of the distance: a whole turn
    in small steps is not free of it. `f` is compiled once; given as a `jax.tree_util.Partial(function, variables)`,
    networks of one architecture share one compilation.

    Raises InputError for no transforms, those that do not fit the images or change their shape, for images that are no
    float images or not finite, and for activations without a batch axis or not finite.
    Source: Zeiler & Fergus 2014, section 4.1, figure 5.
    """
    images = _checked(images, transforms)
    paths, structure = jax.tree.flatten_with_path(shapes_of(f, images))
    check_returns_arrays(paths)
    names = [keystr(path, simple=True, separator="/") or "output" for path, _ in paths]
    for name, (_, leaf) in zip(names, paths, strict=True):
        if leaf.shape[:1] != images.shape[:1]:
            raise InputError(
                f"activation {name} has shape {leaf.shape}: expected {len(images)} images as its first axis"
            )
    activate, found = compiled(_activations, f), np.zeros((len(paths), len(transforms), len(images)))
    for x, rows in _batches(images):
        reference = activate(x)
        for name, a in zip(names, reference, strict=True):
            if not jnp.isfinite(a).all():
                raise InputError(f"activation {name} is not finite for these images")
        for t, transform in enumerate(transforms):
            for layer, distance in enumerate(_distances(activate(transform(x)), reference)):
                found[layer, t, rows] = np.asarray(distance)[: len(rows)]
    return jax.tree.unflatten(structure, list(found))


@checked()
def confidence_curve(
    f: Callable[[Array], Any],
    images: Images,
    labels: Int[np.ndarray | Array, " images"],
    transforms: Sequence[Transform],
    logits: str | None = None,
) -> Float[np.ndarray, "transforms images"]:
    """The probability of each image's right class, by softmax, under each transform: the figure's last column.

    `logits` names the activation (batch, classes), by default the network's output. Raises InputError as
    `invariance_curve` does, and for labels that do not fit.
    """
    images = _checked(images, transforms)
    position, classes = find_logits(f, images, logits)
    labels = checked_labels(labels, len(images), classes)
    activate, found = compiled(_activations, f), np.zeros((len(transforms), len(images)))
    for x, rows in _batches(images):
        for t, transform in enumerate(transforms):
            probabilities = np.asarray(jax.nn.softmax(wide(activate(transform(x))[position])))
            found[t, rows] = probabilities[np.arange(len(rows)), labels[rows]]
    return found


def _checked(images: Any, transforms: Sequence[Transform]) -> np.ndarray:
    if not transforms:
        raise InputError("there is no transform: give at least one")
    images = finite_images(images)
    struct = jax.ShapeDtypeStruct(images.shape, images.dtype)
    for transform in transforms:
        transform.check(struct)
        turned = jax.eval_shape(transform, struct).shape
        if turned != images.shape:
            raise InputError(f"{transform} makes {turned} of images {images.shape}: give square ones")
    return images


def _batches(images: np.ndarray) -> Iterator[tuple[Array, np.ndarray]]:
    """Some images, the last ones repeated to fill up, and which they are."""
    size = runtime.evaluation_batch(math.prod(images.shape[1:-1]))
    for rows, count in batches(len(images), size):
        yield jnp.asarray(images[rows]), rows[:count]


def _activations(f: Callable[[Array], Any], images: Array) -> list[Array]:
    return jax.tree.leaves(f(images))


@jax.jit
def _distances(moved: list[Array], reference: list[Array]) -> list[Float[Array, " batch"]]:
    pairs = zip(map(wide, moved), map(wide, reference), strict=True)
    return [norm(a - b, _units(a)) / norm(b, _units(b)) for a, b in pairs]


def _units(a: Array) -> tuple[int, ...]:
    return tuple(range(1, a.ndim))
