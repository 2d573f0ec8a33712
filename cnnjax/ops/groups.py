"""Groups of turns and mirror images: their tables, and how they act on images and on maps over the group."""

import math
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Array, Num

from cnnjax.door import checked
from cnnjax.door.choices import check_choice
from cnnjax.errors import InputError
from cnnjax.ops.warps import rotate

AnyArray = TypeVar("AnyArray", Array, np.ndarray)


class Group(NamedTuple):
    """The turns by multiples of 360° / `turns`, with their mirror images or without.

    Element number `turns · m + r`, m below `mirrors`, is `R^r M^m`: mirror left and right if m is 1, then make r turns
    counter-clockwise. Element 0 is the identity.
    """

    turns: int
    mirrors: int

    @property
    def order(self) -> int:
        """The number of elements."""
        return self.turns * self.mirrors

    @property
    def steps(self) -> int:
        """The number of turns that make a quarter turn."""
        return self.turns // 4

    def product(self, g: int, h: int) -> int:
        """The element that does h first, then g: `R^r M^m R^s M^n = R^(r ± s) M^(m + n)`, minus where m is 1."""
        (m, r), (n, s) = divmod(g, self.turns), divmod(h, self.turns)
        return (m + n) % 2 * self.turns + (r - s if m else r + s) % self.turns

    def inverse(self, g: int) -> int:
        """The element that undoes g: a mirror image is its own inverse."""
        m, r = divmod(g, self.turns)
        return g if m else -r % self.turns


GROUPS = {"p4": Group(4, 1), "p4m": Group(4, 2), "p8_approximate": Group(8, 1)}


def find_group(name: str) -> Group:
    """The group of this name; raises InputError for an unknown one."""
    check_choice("group", name, GROUPS)
    return GROUPS[name]


@checked()
def group_action(
    x: Num[Array, "batch *map channels"], element: int, *, group: str
) -> Num[Array, "batch *turned channels"]:
    """Turn images, or maps over a group, by one of the group's elements.

    An image moves, `(g x)(p) = x(g⁻¹ p)`; of a map over the group the orientations change places too:
    `(g x)(p, h) = x(g⁻¹ p, g⁻¹ h)`. A layer f is equivariant where `f(g x) = g f(x)`.

    Elements are numbered `turns · m + r`: mirror left and right if m is 1 ("p4m": 4 to 7), then make r turns counter-
    clockwise, as `numpy.rot90` does, by 90° ("p4", "p4m") or 45° ("p8_approximate"). Quarter turns and mirror images
    move pixels, and exchange height and width; odd elements of "p8_approximate" interpolate about the centre, by Keys'
    cubic convolution with zeros outside.

    x is (batch, height, width, channels) or (batch, height, width, |group|, channels), of any dtype, floating point for
    odd elements of "p8_approximate". element is a Python int.

    Raises InputError for an unknown group or element or a wrong shape.
    Source: Cohen & Welling, Group equivariant convolutional networks, 2016, sections 4.2 to 4.4.
    """
    table = find_group(group)
    if element not in range(table.order):
        raise InputError(f"element={element!r} is not in {group}; its elements are numbered 0 to {table.order - 1}.")
    if x.ndim not in (4, 5) or (x.ndim == 5 and x.shape[3] != table.order):
        raise InputError(
            f"x has shape {x.shape}; {group} acts on images (batch, height, width, channels) and on maps "
            f"(batch, height, width, {table.order}, channels)."
        )
    step = element % table.steps
    if step:
        x = rotate(x.reshape(*x.shape[:3], math.prod(x.shape[3:])), 90 / table.steps * step, order=3).reshape(x.shape)
        x = _exchange_orientations(x, step, table)
    return move(x, element - step, table)


def move(x: AnyArray, element: int, group: Group) -> AnyArray:
    """`group_action` for elements that move pixels: quarter turns, mirror images and both."""
    mirror, turns = divmod(element, group.turns)
    quarters = turns // group.steps
    x = _exchange_orientations(x, element, group)
    x = x[:, :, ::-1] if mirror else x
    x = x.swapaxes(1, 2) if quarters % 2 else x
    return x[:, :: -1 if quarters in (1, 2) else 1, :: -1 if quarters in (2, 3) else 1]


def _exchange_orientations(x: AnyArray, element: int, group: Group) -> AnyArray:
    if x.ndim == 4:
        return x
    inverse = group.inverse(element)
    return x[:, :, :, np.array([group.product(inverse, h) for h in range(group.order)])]
