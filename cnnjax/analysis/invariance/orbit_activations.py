"""The activations of a function of images under the transforms of an orbit, in batches that fit in memory."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from cnnjax.analysis.inputs.batches import batches, even_size, most_at_once
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import finite_images
from cnnjax.analysis.inputs.layers import check_returns_arrays
from cnnjax.analysis.inputs.norms import wide, wide_dtype
from cnnjax.analysis.transforms.orbits import Orbit
from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.program.names import leaf_names
from cnnjax.program.order import filled
from cnnjax.program.tracing import shapes_of

Leaves = list[Float[Array, "batch ..."]]
"""One array for each activation, in float32 at least."""


class OrbitActivations:
    """What measures of invariance are made of: `f(apply(images, parameter))`, batch by batch.

    Raises InputError for fewer images than `at_least`, those that are none or not finite, and for an activation that
    is complex or does not have the batch as its first axis.
    """

    def __init__(self, f: Callable[[Array], Any], images: Any, orbit: Orbit, *, at_least: int = 1):
        if not isinstance(orbit, Orbit):
            raise InputError(f"{shown(orbit)} is no orbit: give shifts(...), subpixel_shifts(...) or rotations(...)")
        self.images = finite_images(images)
        if len(self.images) < at_least:
            raise InputError(f"{len(self.images)} image: this measure compares images and needs at least {at_least}")
        self.orbit = orbit
        self._evaluate = compiled(_evaluated, f, given=(orbit.apply,))
        transformed = jax.eval_shape(orbit.apply, self.images, orbit.identity)
        result = shapes_of(f, transformed)
        leaves, self._result = jax.tree.leaves(result), result
        check_returns_arrays(leaves)
        self._names = leaf_names(result)
        for name, leaf in zip(self._names, leaves, strict=True):
            if leaf.shape[:1] != self.images.shape[:1] or jnp.issubdtype(leaf.dtype, jnp.complexfloating):
                raise InputError(
                    f"activation {name} is {leaf.dtype} of shape {leaf.shape} for {len(self.images)} images: "
                    "expected real numbers with the images as the first axis"
                )
        self.units = [jax.ShapeDtypeStruct(leaf.shape[1:], wide_dtype(leaf.dtype)) for leaf in leaves]
        """Shape and dtype of each activation of one image."""
        self.batch = even_size(len(self.images), most_at_once(transformed.shape))
        """How many images there are in each batch."""

    def batches(self, first: int = 0) -> Iterator[tuple[Float[Array, " batch *image"], Bool[Array, " batch"]]]:
        """The images from the batch `first` on, and which of them count: the last are repeated to fill the batch."""
        for rows, count in itertools.islice(batches(len(self.images), self.batch), first, None):
            yield jnp.asarray(self.images[rows]), jnp.asarray(np.arange(self.batch) < count)

    def __call__(self, images: Float[Array, " batch *image"], parameter: ArrayLike) -> Leaves:
        """The activations of these images under one transform.

        Raises InputError where one is not finite.
        """
        leaves, finite = self._evaluate(images, parameter)
        for name, good in zip(self._names, finite, strict=True):
            if not good:
                raise InputError(f"activation {name} is not finite on images of the orbit {self.orbit.name}")
        return leaves

    def tree(self, results: Sequence[Any]) -> Any:
        """One result for each activation as a tree like that of `f`."""
        return filled(self._result, results)


def _evaluated(
    apply: Callable[..., Any], f: Callable[[Array], Any], images: Array, parameter: Array
) -> tuple[Leaves, list[Bool[Array, ""]]]:
    """The activations of the transformed images, and whether each is finite."""
    leaves = [wide(leaf) for leaf in jax.tree.leaves(f(apply(images, parameter)))]
    return leaves, [jnp.isfinite(leaf).all() for leaf in leaves]
