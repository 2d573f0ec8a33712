"""Equivariance: how far transforming the image is from transforming what a function makes of it."""

import functools
from collections.abc import Callable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from cnnjax.analysis.fields.layout import Layout, layouts
from cnnjax.analysis.inputs.compilation import evaluation
from cnnjax.analysis.inputs.images import Images, finite_images
from cnnjax.analysis.inputs.layers import NAMED_LAYERS, check_returns_arrays
from cnnjax.analysis.inputs.norms import norm, wide
from cnnjax.analysis.transforms.geometric import Rotation, Transform
from cnnjax.door import checked
from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.program.order import filled
from cnnjax.program.tracing import shapes_of

Layouts = tuple[Layout, ...]


@checked("transform")
def equivariance_error(f: Callable[[jax.Array], Any], images: Images, transform: Transform) -> Any:
    """How far each activation is from moving with the image, as a tree of floats like f's result.

    `‖f(T x) − T f(x)‖ / ‖T f(x)‖`, norms over all images and units. T is a `Shift`, `Rotation`, `Flip` or `Scale`,
    which says how it resamples, or an `OwnTransform`, a pair of functions. A shift by d pixels moves a map of stride S
    by d / S units; turns, mirror images and zooms of a map are about its own centre. Which axes of an activation are
    spatial, and its stride, are read off f: see `layouts`. On what has no spatial axes, logits or pooled features, T
    does nothing: there the number is the error of invariance.

    0 is exact equivariance, and so it is for a function that ignores its input (the `variation` of
    `local_equivariance_error` tells); 1 and above are errors as large as the activation. inf: T f(x) is 0 everywhere,
    f(T x) is not; nan: both are, a dead layer.

    `f` is any JAX function of images (batch, height, width, channels) or signals (batch, length, channels), a Flax or
    Equinox model with its parameters bound; given by `models.bind` it is compiled once for all transforms. All images
    are evaluated at once.

    Raises InputError for images that are none or not finite, a transform that does not suit them, activations that are
    not floats or not finite, or of which it is not clear where their units lie; and where none has spatial axes.
    """
    x = jnp.asarray(finite_images(images))
    plan, result = plan_comparison(f, x, transform)
    activations = evaluation(f)
    pairs = zip(activations(x), activations(transformed(x, transform=transform)), plan, strict=True)
    norms = jax.device_get([_norms(*pair, layout=layout, transform=transform) for *pair, layout in pairs])
    return filled(result, [ratio(*pair, layout=layout) for pair, layout in zip(norms, plan, strict=True)])


def plan_comparison(
    f: Callable[[jax.Array], Any],
    x: Float[Array, "batch *space channels"] | jax.ShapeDtypeStruct,
    transform: Transform,
) -> tuple[Layouts, Any]:
    """The layout of each activation, in JAX's order, and all of them in a tree like f's result; nothing is computed.

    Raises InputError where the transform does not suit the images, or what f returns cannot be compared.
    """
    if not isinstance(transform, get_args(Transform)):
        raise InputError(f"transform={shown(transform)} must be a Shift, Rotation, Flip, Scale or OwnTransform")
    transform.check(jax.ShapeDtypeStruct(x.shape, x.dtype))
    result = layouts(f, x)
    plan = tuple(jax.tree.leaves(result))
    check_returns_arrays(plan)
    if not any(layout.axes for layout in plan):
        raise InputError(
            f"no activation of f has spatial axes, only {', '.join(layout.name for layout in plan)}: return maps as "
            "well, (batch, *space, channels). How much class scores change as images move is measured by consistency "
            f"and translation_sensitivity_map. For layers {NAMED_LAYERS}"
        )
    outputs = jax.tree.leaves(shapes_of(f, x))
    for layout, leaf in zip(plan, outputs, strict=True):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise InputError(
                f"activation {layout.name} is {leaf.dtype}, whose differences have no norm: leave it out of what f "
                "returns, or convert it to floats"
            )
    of_moved = jax.tree.leaves(shapes_of(f, jax.eval_shape(transform, x)))
    for layout, leaf, other in zip(plan, outputs, of_moved, strict=True):
        expected = jax.eval_shape(functools.partial(moved, layout=layout, transform=transform), leaf)
        actual = jax.eval_shape(layout.spatial, other)
        if actual.shape != expected.shape:
            raise InputError(
                f"activation {layout.name} has shape {actual.shape} of the transformed images, but {expected.shape} if "
                "transformed itself: f does not treat height and width alike, so give it square images"
            )
    if isinstance(transform, Rotation) and transform.degrees % 180:
        for layout in plan:
            if len(set(layout.stride)) > 1:
                raise InputError(
                    f"activation {layout.name} has strides {' and '.join(map(str, layout.stride))}: a map whose units "
                    "lie farther apart, or the other way round, along one axis does not turn as the image does; leave "
                    "it out of what f returns, or take lie_derivative"
                )
    return plan, result


@functools.partial(jax.jit, static_argnames="transform")
def transformed(images: Inexact[Array, "..."], *, transform: Transform) -> Inexact[Array, "..."]:
    """T of the images as one program, not operation by operation."""
    return transform(images)


def moved(activation: Inexact[Array, "..."], *, layout: Layout, transform: Transform) -> Inexact[Array, "..."]:
    """T of an activation in float32 at least, its spatial axes behind the first."""
    a = wide(activation)
    return transform(layout.spatial(a), layout.stride) if layout.axes else a


def ratio(difference: Any, reference: Any, *, layout: Layout) -> float:
    """The ratio of two norms of an activation; inf over 0, nan for 0 over 0.

    Raises InputError where one is not finite.
    """
    if not np.isfinite([difference, reference]).all():
        raise InputError(f"activation {layout.name} is not finite on these images, or too large to square")
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(difference, reference))


# For each activation by itself: those of one shape and stride share a compilation.
@functools.partial(jax.jit, static_argnames=("layout", "transform"))
def _norms(output: Array, of_moved: Array, *, layout: Layout, transform: Transform) -> tuple[Array, Array]:
    reference = moved(output, layout=layout, transform=transform)
    return norm(wide(layout.spatial(of_moved)) - reference), norm(reference)
