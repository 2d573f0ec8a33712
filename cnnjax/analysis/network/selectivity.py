"""What a unit answers: which class most, and how much more than the others."""

import dataclasses

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from cnnjax.door import checked
from cnnjax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class ClassSelectivity:
    """How selective each unit of an activation is, and for which class."""

    index: Float[np.ndarray, " units"]
    """In [0, 1]; NaN for a unit that no image makes fire."""
    preferred: Int[np.ndarray, " units"]
    """The label of the class that it answers most; of a unit that never fires it means nothing."""


@checked()
def class_selectivity(activations: ArrayLike, labels: ArrayLike) -> ClassSelectivity:
    """How much more a unit answers to the images of one class than to those of the others, and which class that is.

    `(μ_max − μ_rest) / (μ_max + μ_rest)`, in [0, 1], with μ_max the highest of a unit's mean activations over a class's
    images, and μ_rest the mean of the other classes' means: 0 for a unit that answers all classes alike, 1 for one that
    answers a single class.

    activations are (images, *space, units), not negative, as rectifiers leave them, and averaged over space; labels
    (images,) are integers. Raises InputError for labels that do not fit, for a single class, and for activations that
    are negative or not finite. With few images of a class a part of the index is chance: compare with shuffled labels.
    Source: Morcos et al. 2018, "On the importance of single directions for generalization", section 2.
    """
    values, classes = np.asarray(activations, np.float64), np.asarray(labels)
    if values.ndim < 2 or classes.shape != values.shape[:1]:
        raise InputError(
            f"activations of shape {values.shape} and labels of shape {classes.shape}: expected (images, ..., units) "
            "and (images,)"
        )
    if classes.dtype.kind not in "iub":
        raise InputError(f"labels are {classes.dtype}: give whole numbers, one for each class")
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise InputError("activations are negative or not finite somewhere: give those after a rectifier")
    pooled = values.mean(tuple(range(1, values.ndim - 1)))
    names, member = np.unique(classes, return_inverse=True)
    if len(names) < 2:
        raise InputError(f"the images are of {len(names)} class: selectivity compares classes, give two or more")
    means = (np.eye(len(names))[member].T @ pooled) / np.bincount(member)[:, None]
    best = means.max(0)
    rest = (means.sum(0) - best) / (len(names) - 1)
    with np.errstate(invalid="ignore"):
        return ClassSelectivity((best - rest) / (best + rest), names[means.argmax(0)])
