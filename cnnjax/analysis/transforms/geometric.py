"""Transformations of images and of the maps that a function makes of them, one object for both."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from cnnjax import ops
from cnnjax.door.arrays import as_numpy
from cnnjax.door.choices import check_choice
from cnnjax.door.scalars import function
from cnnjax.door.words import shown
from cnnjax.errors import InputError
from cnnjax.ops import Fill
from cnnjax.ops.groups import find_group
from cnnjax.ops.resampling import ORDERS
from cnnjax.program.reach import Number

Resampler = Literal["fourier", "linear"]


@dataclasses.dataclass(frozen=True)
class Shift:
    """The content moved by `offset` pixels, one number for each image axis, down and to the right.

    A map whose units lie S pixels apart moves by offset / S units. By whole units or pixels nothing is computed, and
    what comes in is as `fill` says (`ops.shift`). By a fraction, the `resampler` is "fourier", the phase theorem, along
    that axis circular whatever the fill; or "linear", between the two whole shifts next to it, filled as they are.

    Only a circular shift loses nothing: its errors are those of the function only.
    """

    offset: Sequence[int | float]
    fill: Fill = "zero"
    resampler: Resampler = "fourier"

    def __post_init__(self) -> None:
        if as_numpy("offset", self.offset).ndim != 1 or not all(map(_is_number, self.offset)):
            raise InputError(f"offset={self.offset} must have a number of pixels for each image axis, as (0, 1)")
        # Plain numbers: arrays and lists could not be compared by `jit`.
        object.__setattr__(self, "offset", tuple(d if isinstance(d, int) else float(d) for d in self.offset))

    def check(self, images: jax.ShapeDtypeStruct) -> None:
        """Raise InputError where images of this shape cannot be moved so."""
        space = images.shape[1:-1]
        if len(self.offset) != len(space):
            raise InputError(f"offset={self.offset} must have a number of pixels for each of {len(space)} image axes")
        if not all(map(math.isfinite, self.offset)):
            raise InputError(f"offset={self.offset} must be finite numbers of pixels")
        if any(abs(d) >= n for d, n in zip(self.offset, space, strict=True)):
            raise InputError(
                f"offset={self.offset} moves images of {_times(space)} pixels out of sight: move them less"
            )
        check_choice("fill", self.fill, get_args(Fill))
        check_choice("resampler", self.resampler, get_args(Resampler))

    def __call__(
        self, x: Num[Array, "batch *space channels"], stride: Sequence[Number] | None = None
    ) -> Num[Array, "batch *space channels"]:
        """Move (batch, *space, *channels) whose units lie `stride` pixels apart, 1 if it is not given."""
        rank = len(self.offset)
        units = [Fraction(float(d)) / s for d, s in zip(self.offset, stride or (1,) * rank, strict=True)]
        y = x.reshape(*x.shape[: 1 + rank], -1)
        whole = [0 if u.denominator > 1 else int(u) for u in units]
        if any(whole):
            y = ops.shift(y, np.array(whole, np.int32), fill=self.fill)
        for axis, u in enumerate(units):
            if u.denominator > 1:
                y = self._between(y, u, axis)
        return y.reshape(x.shape)

    def _between(self, x: Array, units: Fraction, axis: int) -> Array:
        along = np.eye(x.ndim - 2, dtype=np.int32)[axis]
        if self.resampler == "fourier":
            return ops.fourier_shift(x, along * float(units))
        below = math.floor(units)
        share = jnp.asarray(float(units - below), x.dtype)
        first, second = (ops.shift(x, along * d, fill=self.fill) for d in (below, below + 1))
        return (1 - share) * first + share * second


@dataclasses.dataclass(frozen=True)
class Rotation:
    """The image turned counter-clockwise about its centre, and each map about its own.

    Quarter turns move pixels, and exchange height and width; all others resample with `fill` and `order`
    (`ops.rotate`). A map (batch, height, width, |group|, channels) over a `group` also has its orientations exchanged
    (`ops.group_action`): name the group, "p4", "p4m" or "p8_approximate", whose elements the turn must be one of. That
    action resamples with zeros outside and order 3, and so must the turn then.
    """

    degrees: int | float
    fill: Fill = "zero"
    order: int = 1
    group: str | None = None

    def check(self, images: jax.ShapeDtypeStruct) -> None:
        """Raise InputError where images of this shape cannot be turned so."""
        _check_plane(images, "rotation")
        if not _is_number(self.degrees) or not math.isfinite(self.degrees):
            raise InputError(f"degrees={self.degrees} must be a finite angle")
        _check_resampling(self.fill, self.order)
        if self.group is not None:
            step = 360 / find_group(self.group).turns
            if self.degrees % step:
                raise InputError(f"degrees={self.degrees} is no element of {self.group}: give a multiple of {step:g}")
            if self.degrees % 90 and (self.fill, self.order) != ("zero", 3):
                raise InputError(f"{self.group} resamples with fill='zero' and order=3: turn the images so, too")

    def __call__(
        self, x: Num[Array, "batch *space channels"], stride: Sequence[Number] | None = None
    ) -> Num[Array, "batch *turned channels"]:
        """Turn (batch, height, width, *channels)."""
        if (group := _group_of(x, self.group)) is not None:
            turns = find_group(group).turns
            return ops.group_action(x, round(self.degrees / 360 * turns) % turns, group=group)
        if self.degrees % 90 == 0:
            return jnp.rot90(x, int(self.degrees // 90) % 4, axes=(1, 2))
        plane = x.reshape(*x.shape[:3], -1)
        return ops.rotate(plane, self.degrees, fill=self.fill, order=self.order).reshape(x.shape)


@dataclasses.dataclass(frozen=True)
class Flip:
    """The mirror image along an axis: "width" swaps left and right, "height" top and bottom, "length" a signal's ends.

    Maps (batch, height, width, |group|, channels) have their orientations exchanged, too: name the `group`, "p4m".
    """

    axis: Literal["width", "height", "length"]
    group: str | None = None

    def check(self, images: jax.ShapeDtypeStruct) -> None:
        """Raise InputError where images of this shape cannot be mirrored so."""
        check_choice("axis", self.axis, ("length",) if len(images.shape) == 3 else ("width", "height"))
        if self.group is not None and find_group(self.group).mirrors == 1:
            raise InputError(f"group={self.group!r} has no mirror images: name one that has, 'p4m'")

    def __call__(
        self, x: Num[Array, "batch *space channels"], stride: Sequence[Number] | None = None
    ) -> Num[Array, "batch *space channels"]:
        """Mirror (batch, *space, *channels)."""
        if self.axis != "length" and (group := _group_of(x, self.group)) is not None:
            turns = find_group(group).turns
            # Top and bottom are swapped by swapping left and right, then turning by 180°.
            return ops.group_action(x, turns + (turns // 2 if self.axis == "height" else 0), group=group)
        return jnp.flip(x, 2 if self.axis == "width" else 1)


@dataclasses.dataclass(frozen=True)
class Scale:
    """The image zoomed about its centre by `factor`, above 1 enlarged, and each map about its own (`ops.scale`)."""

    factor: int | float
    fill: Fill = "zero"
    order: int = 1

    def check(self, images: jax.ShapeDtypeStruct) -> None:
        """Raise InputError where images of this shape cannot be zoomed so."""
        _check_plane(images, "scaling")
        if not _is_number(self.factor) or not 0 < self.factor < math.inf:
            raise InputError(f"factor={self.factor} must be positive and finite: above 1 enlarges, below 1 shrinks")
        most = max(images.shape[1:-1])
        if not 1 / most < self.factor < most:
            raise InputError(
                f"factor={self.factor} leaves no more than a pixel of images of {_times(images.shape[1:-1])}: give one "
                f"between 1/{most} and {most}"
            )
        _check_resampling(self.fill, self.order)

    def __call__(
        self, x: Float[Array, "batch *space channels"], stride: Sequence[Number] | None = None
    ) -> Float[Array, "batch *space channels"]:
        """Zoom (batch, height, width, *channels)."""
        plane = x.reshape(*x.shape[:3], -1)
        return ops.scale(plane, self.factor, fill=self.fill, order=self.order).reshape(x.shape)


@dataclasses.dataclass(frozen=True)
class OwnTransform:
    """A transformation of your own: T of images, and T of the maps that a function makes of them.

        OwnTransform(lambda x: x[:, ::-1], lambda maps, stride: maps[:, ::-1])  # upside down
        OwnTransform(lambda x: 1 - x, lambda maps, stride: maps)  # negatives, which are not to change what is seen

    `images` takes images (batch, *space, channels), `maps` an activation with its spatial axes in the same place,
    (batch, *space, ..., channels), and the `stride`, how many pixels its units lie apart along each axis. Both are
    functions of arrays that JAX can trace. Keep one object: a new one is compiled anew.
    """

    images: Callable[[Array], Any]
    maps: Callable[[Array, tuple[Number, ...]], Any]

    def __post_init__(self) -> None:
        for name, count in (("images", 1), ("maps", 2)):
            function(count)(name, getattr(self, name), False)

    def check(self, images: jax.ShapeDtypeStruct) -> None:
        """Raise InputError unless images of this shape become images, as many."""
        moved = jax.eval_shape(self, images)
        if len(moved.shape) != len(images.shape) or moved.shape[0] != images.shape[0]:
            raise InputError(f"transform.images makes {moved.shape} of images {images.shape}: give as many images")

    def __call__(self, x: Num[Array, "..."], stride: Sequence[Number] | None = None) -> Num[Array, "..."]:
        """Transform images, or a map whose units lie `stride` pixels apart."""
        moved = self.images(x) if stride is None else self.maps(x, tuple(stride))
        if not isinstance(moved, jax.Array):
            raise InputError(
                f"transform.{'images' if stride is None else 'maps'} gives {shown(moved)}: it must give an array"
            )
        return moved


Transform: TypeAlias = Shift | Rotation | Flip | Scale | OwnTransform


def _group_of(x: Array, group: str | None) -> str | None:
    """The group that x is a map over, if any; raises InputError where it seems to be one that is not named."""
    if x.ndim == 5 and group is None:
        raise InputError(
            f"an activation has shape {x.shape}: if it is a map (batch, height, width, group, channels), name the "
            "group, as in Rotation(90, group='p4'); if not, reshape it to (batch, height, width, channels)"
        )
    return group if x.ndim == 5 else None


def _check_plane(images: jax.ShapeDtypeStruct, what: str) -> None:
    if len(images.shape) != 4:
        raise InputError(f"images have shape {images.shape}: {what} needs (batch, height, width, channels)")


def _check_resampling(fill: str, order: int) -> None:
    check_choice("fill", fill, get_args(Fill))
    check_choice("order", order, ORDERS)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _times(space: Sequence[int]) -> str:
    return " × ".join(map(str, space))
