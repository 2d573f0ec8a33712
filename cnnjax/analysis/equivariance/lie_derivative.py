"""Lie derivatives: how far a function is from equivariance under a small transformation (Gruver et al. 2022)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnnjax.analysis.fields.layout import Layout, layouts
from cnnjax.analysis.inputs.batches import image_batches
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import Images, finite_images
from cnnjax.analysis.inputs.layers import check_returns_arrays
from cnnjax.analysis.inputs.norms import wide
from cnnjax.analysis.transforms.generators import Generator
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops import Fill
from cnnjax.program.names import leaf_names
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
    layouts, structure = jax.tree.flatten(layout)
    derivative = compiled(_derivative, f, static=("action", "layouts"))
    return jax.tree.unflatten(structure, derivative(jnp.asarray(x), action=action, layouts=tuple(layouts))[1])


@dataclasses.dataclass(frozen=True, eq=False)
class LocalError:
    """The size of one activation's Lie derivative."""

    per_image: Float[np.ndarray, " images"]
    """‖L f(x)‖² / dim for each image, with dim the number of the activation's units."""
    relative: float
    """√(Σ ‖L f(x)‖² / Σ ‖f(x)‖²) over the images: for a small t, `equivariance_error` is t times this. nan where the
    activation is 0 throughout."""

    @property
    def lee(self) -> float:
        """The local equivariance error, E ‖L f(x)‖² / dim."""
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
    """The `LocalError` of every activation of `f`, its LEE among them, as a tree like f's result.

    `LEE = E_x ‖L f(x)‖² / dim`, L f being `lie_derivative`, whose arguments and errors these are. Any number of images:
    they are evaluated in batches, of which nothing but norms is kept.

    Raises InputError also where an activation or its derivative is not finite.
    Source: Gruver, Finzi, Goldblum & Wilson 2022.
    """
    x, action, layout = prepare(f, images, Generator(generator, resampler, fill))
    layouts, structure = jax.tree.flatten(layout)
    squares = functools.partial(
        compiled(_squares, f, static=("action", "layouts")), action=action, layouts=tuple(layouts)
    )
    by_batch = [
        [[a[: len(new)] for a in pair] for pair in jax.device_get(squares(batch))] for batch, new in image_batches(x)
    ]
    results = []
    for place, pairs in zip(layouts, zip(*by_batch, strict=True), strict=True):
        of_value, of_error = map(np.concatenate, zip(*pairs, strict=True))
        results.append(_local_error(of_value, of_error, place))
    return jax.tree.unflatten(structure, results)


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


def _derivative(
    f: Callable[[jax.Array], Any], x: Array, action: Generator, layouts: tuple[Layout, ...]
) -> tuple[list[Array], list[Array]]:
    """f(x) and L f(x), activation by activation."""
    both = jax.jvp(f, (x,), (action.of_images(x).astype(x.dtype),))
    values, tangents = map(jax.tree.leaves, both)
    return values, [failure(action, *each) for each in zip(values, tangents, layouts, strict=True)]


def _squares(
    f: Callable[[jax.Array], Any], x: Array, action: Generator, layouts: tuple[Layout, ...]
) -> list[tuple[Float[Array, " batch"], Float[Array, " batch"]]]:
    """The mean squares of f(x) and of L f(x)."""
    pairs = zip(*_derivative(f, x, action, layouts), strict=True)
    return [(mean_square(value), mean_square(error)) for value, error in pairs]


def failure(action: Generator, value: Array, tangent: Array, layout: Layout) -> Float[Array, "..."]:
    """By how much a tangent misses that of an activation that moves with the image."""
    expected = action.of_activation(value, layout)
    return tangent.astype(expected.dtype) - expected


def mean_square(a: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    """The mean over each image's units, in float32 at least."""
    return jnp.square(wide(a)).mean(range(1, a.ndim))


def _local_error(of_value: np.ndarray, of_error: np.ndarray, layout: Layout) -> LocalError:
    """Raises InputError where the mean squares are not finite."""
    if not (np.isfinite(of_value).all() and np.isfinite(of_error).all()):
        raise InputError(f"activation {layout.name} or its derivative is not finite on these images")
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = float(np.sqrt(of_error.sum(dtype=np.float64) / of_value.sum(dtype=np.float64)))
    return LocalError(of_error, relative)
