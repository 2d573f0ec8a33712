"""Lie derivatives: how far a function is from equivariance under a small transformation (Gruver et al. 2022)."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from cnnjax.analysis.fields.layout import Layout, layouts
from cnnjax.analysis.inputs.batches import image_batches
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import Images, finite_images
from cnnjax.analysis.inputs.layers import check_returns_arrays
from cnnjax.analysis.inputs.moments import Moments
from cnnjax.analysis.inputs.norms import scale_of, wide, wide_dtype
from cnnjax.analysis.transforms.generators import Generator
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops import Fill
from cnnjax.program.names import leaf_names
from cnnjax.program.order import filled
from cnnjax.program.tracing import shapes_of


@checked()
def lie_derivative(
    f: Callable[[jax.Array], Any],
    images: Images,
    generator: str,
    *,
    resampler: str = "fourier",
    fill: Fill | None = None,
) -> Any:
    """The Lie derivative of every activation of `f`, as a tree of arrays like f's result.

    `L f(x) = d/dt T₋ₜ f(Tₜ x)` at t = 0, which is `Jf · G x − G f(x)`: one pass of forward-mode differentiation, for
    all layers and however many classes. It is 0 where f commutes with small transformations, and the change for a unit
    of t, of the same units as f, where it does not. On an activation without spatial axes T does nothing, and L f is
    the derivative of f along the orbit of x: the error of invariance.

    `generator`: "translation_x", "translation_y" (for a pixel), "rotation" (for a radian), "scale" (for a factor of e),
    "shear_x", "shear_y", "brightness", "contrast", "saturation" or "hue". `resampler`: "fourier", "cubic" or "linear",
    how pixels are interpolated; `fill`: what "cubic" and "linear" see outside the map, by default "zero".
    `Generator` has the equations. Where a map's spatial axes are and how far apart its units lie is read off f, see
    `layouts`.

    `f` is any JAX function of images (batch, height, width, channels) or signals (batch, length, channels), of which
    signals have only translation_x, scale, brightness and contrast. Results are in float32 at least.

    Raises InputError for images that are none or not finite; an unknown generator, resampler or fill, or one that does
    not suit the images; activations that are not real floats with the images as their first axis, or of which it is not
    clear where their units lie.

    Source: Gruver, Finzi, Goldblum & Wilson 2022, "The Lie Derivative for Measuring Learned Equivariance". The code
    published with it takes slopes as "linear" with fill "reflect", and measures translations in halves of the image.
    """
    x, action, layout = prepare(f, images, Generator(generator, resampler, fill))
    layouts = jax.tree.leaves(layout)
    measure = compiled(derivative, f, static=("action", "layouts"))
    return filled(layout, measure(jnp.asarray(x), action=action, layouts=tuple(layouts))[1])


@dataclasses.dataclass(frozen=True, eq=False)
class LocalError:
    """The size of one activation's Lie derivative, and what tells whether to believe it."""

    relative: float
    """√(Σ ‖L f(x)‖² / Σ ‖f(x)‖²) over the images: for a small t, `equivariance_error` is t times this. nan where the
    activation is 0 throughout."""
    at_border: float
    """√(Σ ‖G f(x)‖² / Σ ‖f(x)‖²) with the first sum over the outermost units of the map only: how fast the picture
    moves at the border, on the scale of `relative`. Where it is far below that, the border has no part in the error;
    where not, the border may make all of it, and `lie_terms` tells how much. Of an activation that is no map it is that
    of the images, x in place of f(x)."""
    variation: float
    """√(Σ ‖f(x) − m‖² / Σ ‖f(x)‖²), with m the mean of f(x) over the images, in [0, 1]: 0 for a function that ignores
    its input, which makes no error either. nan for one image, and where the activation is 0 throughout."""
    per_image: Float[np.ndarray, " images"]
    """‖L f(x)‖² / dim for each image, with dim the number of the activation's units. It has the size of the
    activation: do not compare activations, layers or networks by it."""

    @property
    def lee(self) -> float:
        """The local equivariance error as it is published, E ‖L f(x)‖² / dim: in the activation's own units."""
        return float(self.per_image.mean(dtype=np.float64))


@checked()
def local_equivariance_error(
    f: Callable[[jax.Array], Any],
    images: Images,
    generator: str,
    *,
    resampler: str = "fourier",
    fill: Fill | None = None,
) -> Any:
    """The `LocalError` of every activation of `f` as a tree like f's result: its Lie derivative over its own size.

    `relative = √(Σ ‖L f(x)‖² / Σ ‖f(x)‖²)`, L f being `lie_derivative`, whose arguments and errors these are, and the
    published `lee = E_x ‖L f(x)‖² / dim`. Beside them stands what they do not tell: `at_border`, how fast the picture
    moves at the border, which adds an error that is none of the function; and `variation`, 0 for a function that
    ignores its input and so has no error. Mirror images have no generator: for them take `equivariance_error`.

    Any number of images: they are evaluated in batches, of which norms and one mean are kept. How far this and other
    measures can be believed, on functions whose equivariance is known: `python -m experiments.measures`.

    Raises InputError also where an activation or its derivative is not finite.
    Source: Gruver, Finzi, Goldblum & Wilson 2022.
    """
    x, action, layout = prepare(f, images, Generator(generator, resampler, fill))
    layouts = jax.tree.leaves(layout)
    measure = functools.partial(
        compiled(_measured, f, static=("action", "layouts")), action=action, layouts=tuple(layouts)
    )
    sums: list[dict[str, list[np.ndarray]]] = [{} for _ in layouts]
    units = [jax.ShapeDtypeStruct(leaf.shape[1:], wide_dtype(leaf.dtype)) for leaf in jax.tree.leaves(shapes_of(f, x))]
    moments = [Moments.of_none(unit.shape, unit.dtype) for unit in units]
    scales = [jnp.zeros((), unit.dtype) for unit in units]
    for batch, new in image_batches(x):
        counted = np.arange(len(batch)) < len(new)
        per_image, moments, scales = measure(batch, counted, moments, scales)
        for kept, found in zip(sums, jax.device_get(per_image), strict=True):
            for name, values in found.items():
                kept.setdefault(name, []).append(values[: len(new)])
    deviations = [
        float(s) ** 2 * float(np.asarray(m.squares).mean(dtype=np.float64))
        for m, s in zip(moments, scales, strict=True)
    ]
    results = [
        _local_error({name: np.concatenate(parts) for name, parts in kept.items()}, deviation, place)
        for kept, deviation, place in zip(sums, deviations, layouts, strict=True)
    ]
    return filled(layout, results)


def prepare(f: Callable[[jax.Array], Any], images: Any, action: Generator) -> tuple[np.ndarray, Generator, Any]:
    """The images, the generator and the layouts of f's activations, all of them checked; f is traced, not run."""
    x = finite_images(images)
    action.check(jax.ShapeDtypeStruct(x.shape, x.dtype))
    result = shapes_of(f, x)
    leaves = jax.tree.leaves(result)
    check_returns_arrays(leaves)
    for name, leaf in zip(leaf_names(result), leaves, strict=True):
        if leaf.shape[:1] != x.shape[:1] or not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise InputError(
                f"activation {name} is {leaf.dtype} of shape {leaf.shape} for {len(x)} images: expected floats, with "
                "the images as the first axis; leave out of what f returns what has no derivative"
            )
    return x, action, layouts(f, x)


def derivative(
    f: Callable[[jax.Array], Any], x: Array, action: Generator, layouts: tuple[Layout, ...]
) -> tuple[list[Array], list[Array]]:
    """f(x) and L f(x), activation by activation."""
    both = jax.jvp(f, (x,), (action.of_images(x).astype(x.dtype),))
    values, tangents = map(jax.tree.leaves, both)
    return values, [failure(action, *each) for each in zip(values, tangents, layouts, strict=True)]


def _measured(
    f: Callable[[jax.Array], Any],
    x: Array,
    counted: Bool[Array, " batch"],
    moments: list[Moments],
    scales: list[Float[Array, ""]],
    action: Generator,
    layouts: tuple[Layout, ...],
) -> tuple[list[dict[str, Float[Array, " batch"]]], list[Moments], list[Float[Array, ""]]]:
    """What a `LocalError` is made of: mean squares of each image, and the moments with this batch.

    The moments are of activations over their scale in the first batch, which is 0 before it.
    """
    values, errors = derivative(f, x, action, layouts)
    scales = [
        jnp.where(scale == 0, scale_of(wide(value)).reshape(()), scale)
        for value, scale in zip(values, scales, strict=True)
    ]
    of_images = [x, action.of_images(x)]
    found, after = [], []
    for value, error, layout, seen, scale in zip(values, errors, layouts, moments, scales, strict=True):
        moving = [layout.spatial(a) for a in (value, action.of_activation(value, layout))] if layout.axes else of_images
        squares = {
            "value": value,
            "error": error,
            "moving": moving[0],
            "edge": _at_border(moving[1], len(layout.axes) or x.ndim - 2),
        }
        found.append({name: mean_square(array) for name, array in squares.items()})
        after.append(seen.with_batch(wide(value) / scale, counted))
    return found, after, scales


def _at_border(a: Float[Array, "batch ..."], rank: int) -> Float[Array, "batch ..."]:
    """The array where a unit has no neighbour on one side of its `rank` spatial axes, elsewhere 0."""
    inner = np.zeros((1, *a.shape[1 : 1 + rank], *(1,) * (a.ndim - 1 - rank)), bool)
    inner[(slice(None), *(slice(1, -1),) * rank)] = True
    return jnp.where(inner, jnp.zeros((), a.dtype), a)


def failure(action: Generator, value: Array, tangent: Array, layout: Layout) -> Float[Array, "..."]:
    """By how much a tangent misses that of an activation that moves with the image."""
    expected = action.of_activation(value, layout)
    return tangent.astype(expected.dtype) - expected


def mean_square(a: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    """The mean over each image's units, in float32 at least."""
    return jnp.square(wide(a)).mean(range(1, a.ndim))


def _local_error(of: Mapping[str, np.ndarray], deviation: float, layout: Layout) -> LocalError:
    """The error from mean squares (images,) of each array; raises InputError where they are not finite."""
    if not (np.isfinite(of["value"]).all() and np.isfinite(of["error"]).all()):
        raise InputError(f"activation {layout.name} or its derivative is not finite on these images")
    total = {name: values.sum(dtype=np.float64) for name, values in of.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.sqrt(np.divide(total["error"], total["value"]))
        at_border = np.sqrt(np.divide(total["edge"], total["moving"]))
    # The deviations are of scaled activations, whose squares do not vanish where those of the activations do.
    known = len(of["value"]) > 1 and total["value"] > 0
    variation = min(1.0, math.sqrt(deviation / total["value"])) if known else math.nan
    return LocalError(float(relative), float(at_border), float(variation), of["error"])
