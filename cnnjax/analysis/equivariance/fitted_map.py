"""Equivariance up to a linear map: how well a map of the channels, fitted, turns T f(x) into f(T x)."""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnnjax.analysis.equivariance.equivariance_error import moved, plan_comparison, ratio, transformed
from cnnjax.analysis.fields.layout import Layout
from cnnjax.analysis.inputs.compilation import evaluation
from cnnjax.analysis.inputs.images import Images, finite_images
from cnnjax.analysis.inputs.norms import wide
from cnnjax.analysis.transforms.geometric import Transform
from cnnjax.door import checked
from cnnjax.door.choices import check_choice
from cnnjax.errors import InputError
from cnnjax.program.order import filled
from cnnjax.program.tracing import shapes_of

Kind = Literal["linear", "orthogonal"]
Rows = Float[np.ndarray, "rows channels"]

_SMALL = 1e-6
"""Directions in which activations vary less than by this part of the most are not fitted: it would be to rounding."""


@checked("transform")
def fitted_map_error(
    f: Callable[[jax.Array], Any], images: Images, transform: Transform, *, kind: Kind = "linear"
) -> Any:
    """How far each activation is from moving with the image and mixing its channels, as a tree of floats like f's.

    `‖f(T x) − A T f(x) − b‖ / ‖f(T x) − c‖`, norms over every second image, with A, b and the mean c of f(T x) fitted
    on the others: A is one matrix (channels, channels) for all positions, by least squares ("linear"), or the nearest
    turn or mirror image of the channels ("orthogonal", Procrustes). T f(x) is as in `equivariance_error`, whose
    arguments and errors these are; on what has no spatial axes, A takes all units.

    0: f is equivariant, but for a linear map, as filters that turn into each other are (∂x and ∂y under a turn), which
    `equivariance_error` calls an error; 1: T f(x) tells nothing of f(T x) but its mean. Above 1 the map does not hold
    for images that it was not fitted to: give more. A single channel can only be scaled, or change its sign. nan:
    f(T x) is c everywhere, as that of a function that ignores its input.

    Raises InputError also for fewer than two images, an unknown kind, and an activation whose first axis is not that of
    the images.
    Source: Lenc & Vedaldi 2015, "Understanding Image Representations by Measuring Their Equivariance and Equivalence",
    section 3, with windows of 1 × 1 and without a prior; Schönemann 1966, "A Generalized Solution of the Orthogonal
    Procrustes Problem".
    """
    check_choice("kind", kind, get_args(Kind))
    x = jnp.asarray(finite_images(images))
    if len(x) < 2:
        raise InputError(f"images is {len(x)}: a map is fitted on half of them and tried on the rest; give at least 2")
    plan, result = plan_comparison(f, x, transform)
    for layout, leaf in zip(plan, jax.tree.leaves(shapes_of(f, x)), strict=True):
        if leaf.shape[:1] != x.shape[:1]:
            raise InputError(
                f"activation {layout.name} has shape {leaf.shape} for {len(x)} images: a map is fitted image by image, "
                "so return the images as its first axis, or leave it out of what f returns"
            )
    activations = evaluation(f)
    pairs = zip(activations(x), activations(transformed(x, transform=transform)), plan, strict=True)
    errors = [_error(*pair, layout=layout, transform=transform, kind=kind) for *pair, layout in pairs]
    return filled(result, errors)


def _error(output: Array, of_moved: Array, *, layout: Layout, transform: Transform, kind: str) -> float:
    """The error of one activation; raises InputError where it is not finite."""
    sides = moved(output, layout=layout, transform=transform), wide(layout.spatial(of_moved))
    first, second = (np.asarray(side, np.float64) for side in sides)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InputError(f"activation {layout.name} is not finite on these images")
    fit, test = ([_rows(side[start::2], layout) for side in (first, second)] for start in (0, 1))
    centers = [rows.mean(0) for rows in fit]
    x, y = (rows - center for rows, center in zip(fit, centers, strict=True))
    x_test, y_test = (rows - center for rows, center in zip(test, centers, strict=True))
    solution = (_linear if kind == "linear" else _orthogonal)(x, y)
    size = np.linalg.norm(y_test)
    if size <= _SMALL * np.linalg.norm(test[1]):  # one number everywhere, but for rounding
        return math.nan
    return ratio(np.linalg.norm(y_test - x_test @ solution), size, layout=layout)


def _rows(a: np.ndarray, layout: Layout) -> Rows:
    """Channels side by side, one row for each position of each image; a row for each image where there are none."""
    places = 1 + len(layout.axes)
    return a.reshape(int(np.prod(a.shape[:places])), -1)


def _linear(x: Rows, y: Rows) -> Float[np.ndarray, "channels channels"]:
    """The least A with the least ‖x A − y‖."""
    return np.linalg.lstsq(x, y, rcond=_SMALL)[0]


def _orthogonal(x: Rows, y: Rows) -> Float[np.ndarray, "channels channels"]:
    """The orthogonal A with the least ‖x A − y‖."""
    left, _, right = np.linalg.svd(x.T @ y)
    return left @ right
