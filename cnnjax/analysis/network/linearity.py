"""Whether a function of images is linear: measured, and shown from its jaxpr."""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from cnnjax.analysis.inputs.compilation import evaluation
from cnnjax.analysis.inputs.images import Images, finite_images, image_struct
from cnnjax.analysis.inputs.norms import wide
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.program.linear_rules import Form, Term, forms
from cnnjax.program.names import leaf_names
from cnnjax.program.order import filled
from cnnjax.program.reach.known import Known
from cnnjax.program.tracing import program_of, shapes_of


class Linearity(enum.StrEnum):
    """What is shown of an activation. Only `LINEAR` is true as a condition."""

    LINEAR = "linear"
    """`f(a x + b y) = a f(x) + b f(y)`; what is 0 for all images is that, too."""
    AFFINE = "affine"
    """A linear function and a constant, a bias for instance."""
    CONSTANT = "constant"
    """The same for all images, and not 0."""
    UNKNOWN = "unknown"
    """None of these is shown. It may be one all the same: branches may cancel, or a rectifier never switch."""

    def __bool__(self) -> bool:
        return self is Linearity.LINEAR


@checked()
def is_linear(f: Callable[[jax.Array], Any], images: Images) -> Any:
    """The `Linearity` of every array that `f` returns in the batch of images, as a tree like `f`'s result.

    It follows from the operations only, so it holds for all images, up to rounding: sums, rearrangements and
    products with constants keep linear what is; a constant that is not 0, added, makes it affine; products of two
    arrays that depend on the images, maxima, quotients and other functions are not followed. Normalisation with stored
    statistics is affine, with those of the batch unknown. Loops and branches are followed where the images do not
    decide their course.

    `f` takes images (batch, height, width, channels) or signals (batch, length, channels) and is any JAX function; it
    is traced, not run: `images` may be a `jax.ShapeDtypeStruct`. Parameters count with the values they have, so that a
    bias of 0 is none, where f holds them; inside another `jit` they have none.

    Raises InputError for images of another rank or dtype, or without a pixel.
    """
    images = image_struct(images)
    program, result = program_of(f, images)
    found = forms(program, [Term(Known(images.shape, images.dtype, frozenset()), Form.LINEAR)])
    return filled(result, [_named(term.form) for term in found])


def _named(form: Form) -> Linearity:
    if form & Form.OTHER:
        return Linearity.UNKNOWN
    if not form & Form.OFFSET:
        return Linearity.LINEAR
    return Linearity.AFFINE if form & Form.LINEAR else Linearity.CONSTANT


@dataclasses.dataclass(frozen=True)
class LinearityError:
    """How far one activation is from linear: norms of differences over the sum of the norms of their parts, in [0, 1].

    All three are rounding errors, of the activation's dtype, for a linear function; only `affine` is for one that is
    affine, with a bias.
    """

    additivity: float
    """`‖f(x + y) − f(x) − f(y)‖` over `‖f(x + y)‖ + ‖f(x)‖ + ‖f(y)‖`."""
    homogeneity: float
    """`‖f(a x) − a f(x)‖` over `‖f(a x)‖ + ‖a f(x)‖`, a negative: for positive ones, rectifiers are homogeneous."""
    affine: float
    """`‖g(a x + b y) − a g(x) − b g(y)‖` over `‖g(a x + b y)‖ + ‖a g(x)‖ + ‖b g(y)‖`, with `g(x) = f(x) − f(0)`."""


@checked()
def linearity_error(f: Callable[[Array], Any], images: Images, *, key: PRNGKeyArray | None = None) -> Any:
    """The `LinearityError` of every array that `f` returns, as a tree like `f`'s result.

    x are the images and y is normal noise with their mean and standard deviation, drawn from `key` (by default that of
    seed 0), as are −2 < a < −1/2 and 1/2 < b < 2. Norms are Euclidean, over the whole batch. `f` takes images (batch,
    height, width, channels) or signals (batch, length, channels).

    Raises InputError for images that are none or not finite, and for activations that are not finite.
    """
    x = jnp.asarray(finite_images(images))
    noise, factors = jax.random.split(jax.random.key(0) if key is None else key)
    pixels = wide(x)
    y = (pixels.mean() + pixels.std() * jax.random.normal(noise, x.shape, pixels.dtype)).astype(x.dtype)
    a, b = jax.random.uniform(factors, (2,), x.dtype, 0.5, 2.0) * jnp.array([-1, 1], x.dtype)
    result, evaluate = shapes_of(f, x), evaluation(f)
    points = [evaluate(point) for point in (jnp.zeros_like(x), x, y, x + y, a * x, a * x + b * y)]
    results = []
    for name, *values in zip(leaf_names(result), *points, strict=True):
        at_0, at_x, at_y, at_sum, at_multiple, at_both = map(_exact, values)
        if not all(np.isfinite(value).all() for value in values):
            raise InputError(f"activation {name} is not finite on combinations of these images")
        g = [value - at_0 for value in (at_both, at_x, at_y)]
        results.append(
            LinearityError(
                additivity=_relative(at_sum, at_x, at_y),
                homogeneity=_relative(at_multiple, float(a) * at_x),
                affine=_relative(g[0], float(a) * g[1], float(b) * g[2]),
            )
        )
    return filled(result, results)


def _exact(value: Array) -> np.ndarray:
    return np.asarray(value, np.complex128 if jnp.iscomplexobj(value) else np.float64)


def _relative(whole: np.ndarray, *parts: np.ndarray) -> float:
    """The norm of `whole − Σ parts` over the sum of their norms; 0 where all are 0."""
    total = sum(float(np.linalg.norm(value)) for value in (whole, *parts))
    return float(np.linalg.norm(whole - sum(parts))) / total if total else 0.0
