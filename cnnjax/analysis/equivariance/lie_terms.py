"""How much of a Lie derivative is of the function, and how much the border of the image adds."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnnjax.analysis.equivariance.lie_derivative import derivative, mean_square, prepare
from cnnjax.analysis.fields.layout import Layout
from cnnjax.analysis.inputs.batches import image_batches
from cnnjax.analysis.inputs.compilation import compiled
from cnnjax.analysis.inputs.images import Images
from cnnjax.analysis.transforms.generators import Generator
from cnnjax.door import checked
from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.ops import Fill
from cnnjax.program.order import filled
from cnnjax.program.tracing import shapes_of


@dataclasses.dataclass(frozen=True)
class LieTerms:
    """The norms of a Lie derivative and of the two parts that add up to it, each over the norm of the activation."""

    total: float
    """The `relative` of `LocalError`."""
    function: float
    """Of f, on a blank margin so wide that the border is far from the picture."""
    border: float
    """What the border adds without that margin: padding, and the seam of a circular derivative."""


@checked()
def lie_terms(
    f: Callable[[jax.Array], Any],
    images: Images,
    generator: str,
    *,
    margin: int | None = None,
    background: float = 0.0,
    resampler: str = "fourier",
    fill: Fill | None = None,
) -> Any:
    """The Lie derivative as the sum of a term of the function and a term of the border, for each activation of f.

    With x⁺ the images on a larger canvas, `margin` pixels of `background` on every side, and C the units over the
    image itself,

        `L f(x) = C L f(x⁺) + border`, of which the first is the function's term.

    A generator turns or zooms the picture in a square that does not turn with it: units that see across the border, or
    whose derivative is taken across it, read pixels that did not move so, and even an exactly equivariant function has
    an error there. With a blank margin nothing moves at the border, and what is left is the error of f. The parts add
    up as arrays, so their norms add up to the total's at least. An activation without spatial axes, whose size follows
    that of the canvas, is first brought back to its length without the margin, image by image.

    `margin` is a multiple of every stride, so that units keep their places; by default the least one that is at least
    half of the image's longer side. Images that are not blank at their border get an edge there, which may be more
    than the resampler can follow: give the `background` that suits them. f must take images of any size. The other
    arguments are those of `lie_derivative`. Results are `LieTerms` in a tree like f's result; norms are over all images
    and units.

    Raises InputError as `lie_derivative` does, where f does not take the larger images or returns a map that does not
    grow with them, and for a margin that is none or that moves units between others.
    """
    action = Generator(generator, resampler, fill)
    x, action, result = prepare(f, images, action)
    layouts = jax.tree.leaves(result)
    margin = _checked_margin(margin, layouts, max(x.shape[1:-1]))
    around = [(0, 0), *[(margin, margin)] * (x.ndim - 2), (0, 0)]
    wide_images = np.pad(x, around, constant_values=background)
    _, _, wide_layout = prepare(f, wide_images, action)
    corners = _corners(f, x, wide_images, layouts, jax.tree.leaves(wide_layout), margin)
    measure = compiled(derivative, f, static=("action", "layouts"))
    options: dict[str, Any] = dict(action=action, layouts=tuple(layouts))
    sums = np.zeros((len(layouts), 4))
    inner = (slice(None), *(slice(margin, -margin) for _ in x.shape[1:-1]))
    for batch, new in image_batches(wide_images):
        near, far = measure(batch[inner], **options), measure(batch, **options)
        for place, (layout, corner) in enumerate(zip(layouts, corners, strict=True)):
            arrays = [side[part][place] for side in (near, far) for part in (0, 1)]
            found = jax.device_get(_squares(*arrays, layout=layout, corner=corner))
            sums[place] += np.asarray(found, np.float64)[:, : len(new)].sum(1)
    return filled(result, [_terms(row, layout) for row, layout in zip(sums, layouts, strict=True)])


def _checked_margin(margin: int | None, layouts: list[Layout], side: int) -> int:
    """The margin, by default a multiple of all strides; raises InputError for one that is not a number of pixels."""
    step = math.lcm(*(math.ceil(abs(stride)) or 1 for layout in layouts for stride in layout.stride))
    if margin is None:
        return step * math.ceil(side / 2 / step)
    if isinstance(margin, bool) or not isinstance(margin, int | np.integer) or margin < 1 or margin % step:
        raise InputError(
            f"margin={shown(margin)} must be a multiple of {step} pixels, the strides of f's maps: 1 or more"
        )
    return int(margin)


def _corners(
    f: Callable[[jax.Array], Any],
    x: np.ndarray,
    wide_images: np.ndarray,
    layouts: list[Layout],
    other: list[Layout],
    margin: int,
) -> list[tuple[int, ...]]:
    """The unit of each map, with the margin, that is its first one without; raises InputError where there is none."""
    sizes = [[leaf.shape for leaf in jax.tree.leaves(shapes_of(f, images))] for images in (x, wide_images)]
    corners = []
    for layout, beyond, small, large in zip(layouts, other, *sizes, strict=True):
        more = [large[axis] - small[axis] for axis in layout.axes]
        # A map that does not grow with the canvas, as one cut to a fixed size, would be compared with its own corner.
        grown = [2 * margin / abs(stride) for stride in layout.stride]
        if (layout.axes, layout.stride) != (beyond.axes, beyond.stride) or any(n % 2 for n in more) or more != grown:
            raise InputError(
                f"activation {layout.name} has shape {small[1:]}, and {large[1:]} on images with a margin, where its "
                "units do not lie at the same places: give another margin, or leave it out of what f returns"
            )
        corners.append(tuple(n // 2 for n in more))
    return corners


@functools.partial(jax.jit, static_argnames=("layout", "corner"))
def _squares(
    value: Array, error: Array, far_value: Array, far_error: Array, *, layout: Layout, corner: tuple[int, ...]
) -> list[Float[Array, " batch"]]:
    """Mean squares of the activation, of its Lie derivative, of the function's part and of the border's."""
    if layout.axes:
        window = layout.spatial(error).shape[1 : 1 + len(corner)]
        inner = (slice(None), *(slice(c, c + n) for c, n in zip(corner, window, strict=True)))
        error, far_error = layout.spatial(error), layout.spatial(far_error)[inner]
    else:
        lengths = [jnp.sqrt(mean_square(a)) for a in (value, far_value)]
        ratio = jnp.where(lengths[1] > 0, lengths[0] / lengths[1], 0)
        far_error = far_error * ratio.reshape(-1, *(1,) * (far_error.ndim - 1)).astype(far_error.dtype)
    return [mean_square(a) for a in (value, error, far_error, error - far_error)]


def _terms(sums: Float[np.ndarray, " parts"], layout: Layout) -> LieTerms:
    if not np.isfinite(sums).all():
        raise InputError(f"activation {layout.name} or its derivative is not finite on these images")
    with np.errstate(divide="ignore", invalid="ignore"):
        return LieTerms(*(float(np.sqrt(part / sums[0])) for part in sums[1:]))
