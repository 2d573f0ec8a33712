"""Why a function does not move with its image: what aliasing, the border and lost content each add to the error."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from cnnjax import ops
from cnnjax.analysis.equivariance.equivariance_error import Layouts, moved, plan_comparison, ratio, transformed
from cnnjax.analysis.fields.layout import Layout
from cnnjax.analysis.inputs.compilation import evaluation
from cnnjax.analysis.inputs.images import Images, finite_images, image_struct
from cnnjax.analysis.inputs.norms import norm, wide
from cnnjax.analysis.transforms.geometric import Shift
from cnnjax.analysis.transforms.orbits import MOST
from cnnjax.door import checked
from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.program.order import filled
from cnnjax.program.tracing import shapes_of


@dataclasses.dataclass(frozen=True)
class ShiftTerms:
    """The norms of an error and of the three parts that add up to it, each divided by the norm of the activation."""

    total: float
    aliasing: float
    """Of the stride: 0 where offset / stride is whole."""
    border: float
    """Of padding that does not continue the map: 0 if all of it is circular."""
    content: float
    """Of what enters and leaves the frame: 0 if the shift is circular, or only blank margin crosses the edge."""


@checked()
def shift_terms(f: Callable[[jax.Array], Any], images: Images, shift: Shift) -> Any:
    """The error under a shift as the sum of an aliasing, a border and a content term, for each activation of f.

    With T the shift, R the same shift with circular fill, and E(x) = f(R x) − R f(x), the error of an activation is

    `f(T x) − R f(x) = aliasing + border + content`, where
    `aliasing = mean_k R⁻ᵏ E(Rᵏ x)`, `border = E(x) − aliasing`, `content = f(T x) − f(R x)`,

    over those steps k of a walk of the picture round the image, back to where it was, that are whole strides. Error
    that goes along with the picture is aliasing: it is that of the function `mean_k R⁻ᵏ f Rᵏ`, for which all places are
    alike, so that it has no border. Error that depends on the place is the border's; the coarser the stride, the fewer
    the places, and the less well the two are told apart. The parts add up as arrays, so
    their norms add up to the total's at least; and over the places of the walk the mean square of E is the square of
    aliasing plus the mean square of border, exactly. With a circular shift the total is the `equivariance_error`.

    Results are `ShiftTerms` in a tree like f's result; norms are over all images and units. R does nothing to
    activations without spatial axes, whose stride is that of all maps that f returns, taken together. f is evaluated
    `lcm_a(n_a / gcd(n_a, offset_a))` times and three more, over the image axes a: for a shift by one pixel, n times.

    Raises InputError as `equivariance_error` does, for an offset that is not whole or takes more than 10,000 steps
    round the image, and for a map that cannot be
    shifted round, its units times its stride not being the size of the image, as behind "valid" convolutions.
    """
    x = jnp.asarray(finite_images(images))
    layout, steps, walks = _planned(f, x, shift)
    around = dataclasses.replace(shift, fill="circular")
    activations = evaluation(f)
    start = here = activations(x)
    offset = np.array(shift.offset, np.int32)
    aliasing = [jnp.zeros_like(wide(walk.layout.spatial(a))) for walk, a in zip(walks, start, strict=True)]
    for step in range(steps):
        there = activations(_rolled(x, (step + 1) * offset))
        pieces = zip(aliasing, here, there, walks, strict=True)
        aliasing = [_add(*arrays, jnp.int32(step), walk=walk, around=around) for *arrays, walk in pieces]
        here = there
    pieces = zip(
        aliasing,
        start,
        activations(_rolled(x, offset)),
        activations(transformed(x, transform=shift)),
        walks,
        strict=True,
    )
    norms = jax.device_get([_norms(*arrays, walk=walk, around=around) for *arrays, walk in pieces])
    terms = [
        ShiftTerms(*(ratio(part, reference, layout=walk.layout) for part in parts))
        for (*parts, reference), walk in zip(norms, walks, strict=True)
    ]
    return filled(layout, terms)


@checked()
def check_shift_terms(f: Callable[[jax.Array], Any], images: Images, shift: Shift) -> None:
    """Raise InputError where `shift_terms` does for the shapes and layers of f; nothing is run.

    `images` are arrays or `jax.ShapeDtypeStruct`s.
    """
    _planned(f, image_struct(images), shift)


class _Walk(NamedTuple):
    """How an activation moves as the picture is walked round the image."""

    layout: Layout
    phases: int
    """After how many steps the map has moved by whole units."""
    units: tuple[int, ...]
    """By how many it has."""
    places: int
    """How often that happens."""


def _planned(f: Callable[[jax.Array], Any], x: Any, shift: Shift) -> tuple[Any, int, tuple[_Walk, ...]]:
    """A tree like f's result, the number of steps round the image, and the walk of each activation."""
    if not isinstance(shift, Shift):
        raise InputError(f"shift={shown(shift)} must be a Shift: of other transforms the terms cannot be told apart")
    plan, layout = plan_comparison(f, x, shift)
    around = dataclasses.replace(shift, fill="circular")
    return layout, *_walks(plan, jax.tree.leaves(shapes_of(f, x)), around, x.shape[1:-1])


def _walks(
    plan: Layouts, outputs: Sequence[jax.ShapeDtypeStruct], around: Shift, space: tuple[int, ...]
) -> tuple[int, tuple[_Walk, ...]]:
    """The number of steps until the picture is back where it was, and the walk of each activation."""
    if not all(float(d).is_integer() for d in around.offset):
        raise InputError(
            f"offset={around.offset}: give whole pixels; other shifts do not come back to where they began"
        )
    steps = math.lcm(*(n // math.gcd(n, int(d)) for n, d in zip(space, around.offset, strict=True)))
    if steps > MOST:
        raise InputError(
            f"offset={around.offset} comes back after {steps:,} steps in images of {space}, f being evaluated in each: "
            f"shift along one axis, or crop the images until there are at most {MOST:,}"
        )
    each = [[Fraction(int(d)) / s for d, s in zip(around.offset, layout.stride, strict=False)] for layout in plan]
    together = math.lcm(*(u.denominator for units in each for u in units))
    walks = []
    for layout, output, units in zip(plan, outputs, each, strict=True):
        for axis, stride, n, d in zip(layout.axes, layout.stride, space, around.offset, strict=False):
            if d and output.shape[axis] * abs(stride) != n:
                raise InputError(
                    f"activation {layout.name} has {output.shape[axis]} units {stride} pixels apart along {n} pixels, "
                    "so no shift brings it round: pad the image or the layers until units × stride is the image's "
                    "size, leave it out of what f returns, or take equivariance_error"
                )
        phases = math.lcm(*(u.denominator for u in units)) if layout.axes else together
        walks.append(_Walk(layout, phases, tuple(int(u * phases) for u in units), steps // phases))
    return steps, tuple(walks)


_rolled = jax.jit(functools.partial(ops.shift, fill="circular"))


def _error(here: Array, there: Array, layout: Layout, around: Shift) -> Array:
    return wide(layout.spatial(there)) - moved(here, layout=layout, transform=around)


# For each activation by itself: those of one shape and stride share a compilation.
@functools.partial(jax.jit, static_argnames=("walk", "around"))
def _add(total: Array, here: Array, there: Array, step: Array, *, walk: _Walk, around: Shift) -> Array:
    """The sum with the error of one step, moved back to where the picture began, if its strides are whole."""
    error = _error(here, there, walk.layout, around)
    if walk.layout.axes:
        flat = error.reshape(*error.shape[: 1 + len(walk.units)], -1)
        back = -(step // walk.phases) * np.array(walk.units, np.int32)
        error = ops.shift(flat, back, fill="circular").reshape(error.shape)
    return jnp.where(step % walk.phases == 0, total + error / walk.places, total)


@functools.partial(jax.jit, static_argnames=("walk", "around"))
def _norms(
    aliasing: Array, start: Array, after: Array, filled: Array, *, walk: _Walk, around: Shift
) -> tuple[Array, ...]:
    """Of the total, aliasing, border and content, and of the activation."""
    error = _error(start, after, walk.layout, around)
    content = wide(walk.layout.spatial(filled)) - wide(walk.layout.spatial(after))
    reference = moved(start, layout=walk.layout, transform=around)
    return tuple(map(norm, (error + content, aliasing, error - aliasing, content, reference)))
