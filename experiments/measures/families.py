"""The families of transforms: a member for finite errors, several for classifiers, a generator where there is one."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cnnjax import analysis
from cnnjax.analysis import Flip, Rotation, Scale, Shift

Family = Literal["shift", "half pixel", "rotation", "quarter turn", "scale", "reflection"]


@dataclasses.dataclass(frozen=True)
class Transforms:
    """What a family is measured with."""

    members: Sequence[analysis.Transform]
    """Of which finite errors take the first, classifiers and units all."""
    generator: str | None
    """What its members are made of by small steps; None where no small steps lead to them."""


FAMILIES: dict[Family, Transforms] = {
    "shift": Transforms([Shift(d, fill="circular") for d in ((1, 1), (0, 1), (1, 0))], "translation_x"),
    "half pixel": Transforms([Shift(d, fill="circular") for d in ((0.5, 0.5), (0, 0.5), (0.5, 0))], "translation_x"),
    "rotation": Transforms([Rotation(a, order=3) for a in (30, 135, 240)], "rotation"),
    "quarter turn": Transforms([Rotation(a) for a in (90, 180, 270)], "rotation"),
    "scale": Transforms([Scale(s, order=3) for s in (1.15, 0.85, 1.3)], "scale"),
    "reflection": Transforms([Flip("width")], None),
}
"""A half pixel, a turn by 30° and a zoom fall between pixels; the others move pixels and compute nothing."""


def orbit(family: Family) -> analysis.Orbit:
    """The members of a family, of images that `stacked` has moved: one program for all families.

    What a function makes of them is then compiled once, not once for each way of moving.
    """
    members: Int[np.ndarray, " members"] = np.arange(1, 1 + len(FAMILIES[family].members))
    return analysis.Orbit(family, members, np.asarray(0), _taken, "as the family's", ())


def stacked(images: Float[np.ndarray, "batch side side 1"]) -> dict[Family, Float[np.ndarray, "batch side side slots"]]:
    """The images as they are, then moved by each member of a family, as channels; unused ones are 0."""
    most = 1 + max(len(of.members) for of in FAMILIES.values())
    found = {}
    for family, of in FAMILIES.items():
        slots = np.zeros((*images.shape[:3], most), np.float32)
        for place, moved in enumerate([images, *(member(jnp.asarray(images)) for member in of.members)]):
            slots[..., place] = np.asarray(moved)[..., 0]
        found[family] = slots
    return found


def _taken(slots: Array, member: Array) -> Array:
    return jnp.take(slots, member[None], axis=-1)
