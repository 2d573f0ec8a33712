"""Orbits: the finite families of shifts and rotations that invariance is measured over (protocol version 1)."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cnnjax import ops
from cnnjax.door import checked
from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.ops import Fill

OrbitFill = Literal[Fill, "crop"]
"""What comes in; with "crop" nothing does, for a window moves over the image."""

MOST = 10_000
"""Transforms in an orbit, for every image is evaluated under each of them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Orbit:
    """The images `apply(examples, parameter)` for each parameter, compared with that for `identity`."""

    name: str
    parameters: np.ndarray
    """`(transforms, ...)`: one row for each transform. The identity is not among them."""
    identity: np.ndarray
    apply: Callable[[Any, Array], Float[Array, "batch height width channels"]]
    resampler: str
    """How pixels between pixels are had; "exact" where none are needed."""
    paths: tuple[tuple[int, ...], ...]
    """Walks through the orbit in small steps, for the flip rate: 0 is the identity, i the i-th parameter row."""


@checked("max_shift")
def shifts(max_shift: int, *, fill: OrbitFill = "zero") -> Orbit:
    """Every integer shift of up to `max_shift` pixels along both axes: (2 max_shift + 1)² − 1 transforms.

    `fill` is what comes in, as in `ops.shift`; with "crop" nothing does: a window smaller than the image by 2 max_shift
    moves over it, so all pixels are real, and the identity is the middle window. Parameters are (dy,
    dx) in pixels, the content's movement down and right. Paths are the rows and the columns of the grid.

    Raises InputError for more than 10,000 transforms, which is 49 pixels; as do the other orbits.
    """
    max_shift = _whole("max_shift", max_shift, 1, "pixel")
    _check_count(f"max_shift={max_shift}", (2 * max_shift + 1) ** 2 - 1, f"{(math.isqrt(MOST + 1) - 1) // 2} pixels")
    apply = _crop_of(max_shift) if fill == "crop" else _shift_of(fill, max_shift)
    reach = range(-max_shift, max_shift + 1)
    offsets = [(dy, dx) for dy, dx in itertools.product(reach, reach) if (dy, dx) != (0, 0)]
    index = {(0, 0): 0} | {offset: i for i, offset in enumerate(offsets, 1)}
    rows = [tuple(index[dy, dx] for dx in reach) for dy in reach]
    columns = [tuple(index[dy, dx] for dy in reach) for dx in reach]
    return Orbit(
        f"shift_{fill}", np.array(offsets, np.int32), np.zeros(2, np.int32), apply, "exact", tuple(rows + columns)
    )


@checked()
def subpixel_shifts(parts: int = 4) -> Orbit:
    """Shifts by every multiple of 1/parts pixel short of a whole one, by the Fourier phase: parts² − 1 transforms.

    Circular, and without an interpolation kernel. Parameters are (dy, dx) in pixels. Paths run along rows and columns.
    """
    parts = _whole("parts", parts, 2, "part")
    _check_count(f"parts={parts}", parts**2 - 1, f"{math.isqrt(MOST + 1)} parts")
    steps = list(itertools.product(range(parts), range(parts)))  # (0, 0) comes first: its index is 0, the identity's
    grid = np.arange(parts * parts).reshape(parts, parts)
    paths = tuple(tuple(map(int, line)) for line in (*grid, *grid.T))
    parameters = np.array(steps[1:], np.float32) / parts
    return Orbit("shift_subpixel", parameters, np.zeros(2, np.float32), _shift_of(None, 1), "Fourier phase", paths)


@checked()
def rotations(step: int | float = 15) -> Orbit:
    """Rotations about the centre by every multiple of `step` degrees short of a full turn, counter-clockwise.

    Bilinear, zero outside; quarter turns are exact. The path is the circle, closed.
    """
    if 0 < step < 360 / (MOST + 1):
        raise InputError(
            f"rotation step {step} makes more than {MOST:,} transforms, and every image is evaluated under each: give "
            "a larger step, or an Orbit of your own with the angles that you want"
        )
    count = round(360 / step) if step > 0 else 0
    if count < 2 or abs(count * step - 360) > 1e-6:
        raise InputError(f"rotation step {step} must divide 360 degrees into at least 2 parts")
    degrees = np.arange(1, count, dtype=np.float32) * np.float32(step)
    return Orbit("rotation", degrees, np.zeros((), np.float32), _rotate, "bilinear", ((*range(count), 0),))


def _whole(name: str, value: Any, least: int, unit: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name}={shown(value)} must be at least {least} {unit}{'s' * (least > 1)}, a whole number")
    return int(value)


def _check_count(setting: str, count: int, most: str) -> None:
    if count > MOST:
        raise InputError(
            f"{setting} makes {count:,} transforms, more than {MOST:,}, and every image is evaluated under each: give "
            f"at most {most}, or an Orbit of your own with fewer parameters"
        )


@checked()
def orbit_of(transforms: Sequence[Callable[..., Any]], *, name: str = "transforms") -> Orbit:
    """An orbit of transformations of your own: functions of images, as are an `OwnTransform`, a `Shift` or a `Flip`.

    Each takes images (batch, height, width, channels) and gives as many of the same size; the identity is not among
    them. Parameters are their numbers, from 1. There are no paths, so no flip rate. Each part of the images meets all
    of them in one program, so there should be few.

    Raises InputError for none, and, when images come, for one that changes their shape.
    """
    if not transforms:
        raise InputError("transforms is empty: give at least one")
    _check_count("transforms", len(transforms), f"{MOST:,}")
    numbers = np.arange(1, len(transforms) + 1, dtype=np.int32)
    return Orbit(name, numbers, np.zeros((), np.int32), _one_of(tuple(transforms)), "its own", ())


@functools.lru_cache(maxsize=64)
def _one_of(transforms: tuple[Callable[..., Any], ...]) -> Callable[[Array, Array], Array]:
    def apply(images: Array, number: Array) -> Array:
        _size(images)
        for transform in transforms:
            if (shape := jax.eval_shape(transform, images).shape) != images.shape:
                raise InputError(f"{shown(transform)} makes {shape} of images {images.shape}: keep their shape")
        return jax.lax.switch(number, [lambda x: x, *transforms], images)

    return apply


@checked()
def quarter_turns(orbit: Orbit) -> np.ndarray:
    """Which of a rotation orbit's parameters are quarter turns, `(transforms,)` bool."""
    return orbit.parameters % 90 == 0


# One function object for each setting, not one for each call: `jit` knows functions by identity.


@functools.cache
def _shift_of(fill: Fill | None, farthest: int) -> Callable[[Array, Array], Array]:
    def shift(images: Array, offset: Array) -> Array:
        height, width = _size(images)
        if min(height, width) <= farthest:
            raise InputError(
                f"shifts by {farthest} pixels move images of {height}×{width} out of sight: move them less"
            )
        return ops.fourier_shift(images, offset) if fill is None else ops.shift(images, offset, fill=fill)

    return shift


def _rotate(images: Array, degrees: Array) -> Array:
    _size(images)
    return ops.rotate(images, degrees)


@functools.cache
def _crop_of(max_shift: int) -> Callable[[Array, Array], Array]:
    def crop(images: Array, offset: Array) -> Array:
        height, width = _size(images)
        batch, channels = images.shape[0], images.shape[-1]
        if min(height, width) <= 2 * max_shift:
            raise InputError(f"max_shift={max_shift} leaves no window in images of {height}×{width} pixels")
        zero = jnp.zeros_like(offset[0])
        start = (zero, max_shift - offset[0], max_shift - offset[1], zero)
        return jax.lax.dynamic_slice(images, start, (batch, height - 2 * max_shift, width - 2 * max_shift, channels))

    return crop


def _size(images: Array) -> tuple[int, int]:
    if images.ndim != 4:
        raise InputError(f"images have shape {images.shape}: orbits move images (batch, height, width, channels)")
    return images.shape[1], images.shape[2]
