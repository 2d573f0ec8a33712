"""Invariance curves: how far a transform of growing strength takes each layer's features, and the right class."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cnnjax.analysis.inputs.batches import image_batches
from cnnjax.analysis.inputs.compilation import evaluation
from cnnjax.analysis.inputs.images import Images, finite_images
from cnnjax.analysis.inputs.layers import batched_activations, checked_labels, find_logits
from cnnjax.analysis.inputs.norms import norm, wide
from cnnjax.analysis.transforms.geometric import Transform
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.program.order import filled


@checked()
def invariance_curve(f: Callable[[Array], Any], images: Images, transforms: Sequence[Transform]) -> Any:
    """The distance of each activation from that of the untransformed image, as a tree like `f`'s result.

    `d[t, i] = ‖f(T_t x_i) − f(x_i)‖ / ‖f(x_i)‖`, `(transforms, images)` float64: Euclidean norms over all units; 0 for
    an invariant activation, √2 for one that has become orthogonal to what it was at the same length. NaN where the
    activation of the image itself is 0. A curve is the mean over images against the transforms' strengths:
    `[Shift((0, d), fill="zero") for d in range(-8, 9)]`, `[Rotation(a) for a in range(0, 360, 15)]`.

    Transforms say how they resample and what comes in at the border, which makes part of the distance: a whole turn
    in small steps is not free of it.

    Raises InputError for no transforms, those that do not fit the images or change their shape, for images that are no
    float images or not finite, and for activations without a batch axis or not finite.
    Source: Zeiler & Fergus 2014, section 4.1, figure 5.
    """
    images = _checked(images, transforms)
    names, _, result = batched_activations(f, images)
    activate, found = evaluation(f), np.zeros((len(names), len(transforms), len(images)))
    for x, rows in image_batches(images):
        reference = activate(x)
        for name, a in zip(names, reference, strict=True):
            if not jnp.isfinite(a).all():
                raise InputError(f"activation {name} is not finite for these images")
        for t, transform in enumerate(transforms):
            for layer, distance in enumerate(_distances(activate(transform(x)), reference)):
                found[layer, t, rows] = np.asarray(distance)[: len(rows)]
    return filled(result, list(found))


@checked()
def confidence_curve(
    f: Callable[[Array], Any],
    images: Images,
    labels: Int[np.ndarray | Array, " images"],
    transforms: Sequence[Transform],
    *,
    logits: str | None = None,
) -> Float[np.ndarray, "transforms images"]:
    """The probability of each image's right class, by softmax, under each transform: the figure's last column.

    `logits` names the activation (batch, classes), by default the network's output. Raises InputError as
    `invariance_curve` does, and for labels that do not fit.
    """
    images = _checked(images, transforms)
    position, classes = find_logits(f, images, logits)
    labels = checked_labels(labels, len(images), classes)
    activate, found = evaluation(f), np.zeros((len(transforms), len(images)))
    for x, rows in image_batches(images):
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


@jax.jit
def _distances(moved: list[Array], reference: list[Array]) -> list[Float[Array, " batch"]]:
    pairs = zip(map(wide, moved), map(wide, reference), strict=True)
    return [norm(a - b, _units(a)) / norm(b, _units(b)) for a, b in pairs]


def _units(a: Array) -> tuple[int, ...]:
    return tuple(range(1, a.ndim))
