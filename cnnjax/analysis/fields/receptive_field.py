"""Receptive fields of any JAX function of images, read off its jaxpr: which pixels each activation can see."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax
import numpy as np

from cnnjax.analysis.inputs.images import Images, image_struct
from cnnjax.door import checked
from cnnjax.door.words import in_line
from cnnjax.errors import InputError
from cnnjax.program.order import filled
from cnnjax.program.reach import Number, Summary, Value, follow, nothing, summarize
from cnnjax.program.tracing import program_of

Span = tuple[int, int]
"""First and last pixel, both included; none where the first is after the last."""


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """Which pixels the units of one activation read, along each spatial axis of the images.

    Unit u, an index per image axis, reads pixels of `span(u)`: `⌈S u − P⌉` to `⌊S u − P + r − 1⌋` along each axis, r
    the `size`, S the `stride`, P the `padding` (Araujo et al. 2019). Those before 0 and after n − 1 belong to the
    padding. Behind transposed convolutions and resizing the three can be fractions: units then see r pixels, rounded
    down or up. What follows no axis, as after global pooling or a dense layer, has r = n, S = 0 and P = 0.
    """

    size: tuple[Number, ...]
    stride: tuple[Number, ...]
    padding: tuple[Number, ...]
    units: tuple[int, ...]
    """How many units the activation has along each image axis; 1 where all are alike, and any index will do."""
    image_size: tuple[int, ...]
    exact: tuple[bool, ...]
    """Whether every unit whose span lies in the image reads both ends of it; if not, the span is a bound."""
    border: tuple[str, ...]
    """What units read whose span crosses the border: "clipped", only pixels of `clipped_span`; "circular", those of
    the span modulo n; "reflect", those of the span mirrored about the border pixel; "other", what `support` says."""
    aligned: tuple[bool, ...]
    """Whether all branches that meet have one stride and one centre. Those that see the whole image have neither, and
    the slices of one map that a filter adds up are no branches."""
    axis: tuple[int | None, ...]
    """The axis of the activation that its units along each image axis are on: (1, 2) for maps (batch, height, width,
    channels), one and the same where rows and columns of tokens share it, None where all units are alike."""
    unfollowed: tuple[str, ...]
    """Primitives on the way that were bounded, not followed: "while", or one that counts as reading everything."""
    selected: bool
    """Whether other pixels decide which ones are read, as an argmax over the image does; they do not count as read."""
    mixes_images: bool
    """Whether a unit reads several images of the batch."""
    reads: tuple[np.ndarray, ...] = dataclasses.field(repr=False, compare=False)
    """Bool `(units, n)` for each image axis: what `support` lists."""

    def span(self, position: Sequence[int]) -> tuple[Span, ...]:
        """First and last pixel of a unit's field along each axis, padding included.

        `position` is the unit's index along each image axis, (row, column). Raises InputError beyond the last unit.
        """
        return tuple(
            (math.ceil(stride * u - padding), math.floor(stride * u - padding + size - 1))
            for u, size, stride, padding in zip(self._unit(position), self.size, self.stride, self.padding, strict=True)
        )

    def clipped_span(self, position: Sequence[int]) -> tuple[Span, ...]:
        """The part of `span` that lies in the image."""
        spans = zip(self.span(position), self.image_size, strict=True)
        return tuple((max(first, 0), min(last, n - 1)) for (first, last), n in spans)

    def center(self, position: Sequence[int]) -> tuple[float, ...]:
        """The middle of a unit's field, `S u − P + (r − 1) / 2`, in pixels."""
        return tuple(
            float(stride * u - padding + Fraction(size - 1) / 2)
            for u, size, stride, padding in zip(self._unit(position), self.size, self.stride, self.padding, strict=True)
        )

    def support(self, position: Sequence[int]) -> tuple[np.ndarray, ...]:
        """The pixels that a unit reads along each axis, without the gaps that dilation leaves; in the plane, at most
        every combination of these rows and columns.
        """
        return tuple(np.flatnonzero(reads[u]) for u, reads in zip(self._unit(position), self.reads, strict=True))

    def _unit(self, position: Sequence[int]) -> tuple[int, ...]:
        index = tuple(position) if isinstance(position, Sequence) else (position,)
        # Where all units are alike, it does not matter which one is meant.
        limits = [math.inf if n == 1 and stride == 0 else n for n, stride in zip(self.units, self.stride, strict=True)]
        whole = all(isinstance(u, int | np.integer) for u in index)
        if len(index) != len(limits) or not whole or not all(0 <= u < n for u, n in zip(index, limits, strict=True)):
            raise InputError(
                f"position={in_line(position)}: give a whole index for each of {len(limits)} image axes, below "
                f"{self.units}"
            )
        return tuple(min(u, n - 1) for u, n in zip(index, self.units, strict=True))


@checked()
def receptive_field(f: Callable[[jax.Array], Any], images: Images) -> Any:
    """The `ReceptiveField` of every array that `f` returns, as a tree like `f`'s result.

    For a stack of layers with kernels k, dilations d, strides s and paddings p before,
    `r = 1 + Σ_l d_l (k_l − 1) Π_{i<l} s_i`, `S = Π s_l`, `P = Σ_l p_l Π_{i<l} s_i`; where branches meet, the union.

    `f` takes images (batch, height, width, channels) or signals (batch, length, channels) and is any JAX function, a
    Flax or Equinox model with its parameters bound. It is traced, not run: `images` may be a `jax.ShapeDtypeStruct`.
    Followed are the positions that values are made of, through convolutions, pooling, indexing, resizing, reshaping,
    products, control flow. That a weight happens to be 0 changes nothing. Along an axis of n pixels a map takes up to
    n² / 8 bytes.

    Raises InputError for images of another rank or dtype, or without a pixel.
    Source: Araujo, Norris & Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks".
    """
    images = image_struct(images)
    program, result = program_of(f, images)
    values = follow(program, [Value.images(images.shape, images.dtype)])
    fields = [_field(value, images.shape[1:-1]) for value in values]
    return filled(result, fields)


def _field(value: Value, image_size: tuple[int, ...]) -> ReceptiveField:
    axes = summarize(value.reaches[1:]) or [nothing(n) for n in image_size]
    entries = {entry.name: tuple(getattr(axis, entry.name) for axis in axes) for entry in dataclasses.fields(Summary)}
    entries["exact"] = tuple(exact and not value.unfollowed for exact in entries["exact"])
    return ReceptiveField(
        **entries,
        image_size=image_size,
        unfollowed=tuple(sorted(value.unfollowed)),
        selected=value.selected,
        mixes_images=any(reach.most > 1 for reach in value.reaches[:1]),
    )
