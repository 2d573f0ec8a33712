"""The borders of pieces, two pixels deep, turned so that any two can be laid side by side.

Every pair of neighbours, however it lies, is a piece at the left of another once both are turned alike. So one function
of borders that face right and borders that face left tells everything.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from cnnjax.door import checked

Dissimilarity = Callable[[Float[Array, "m side 2 channels"], Float[Array, "n side 2 channels"]], Float[Array, "m n"]]
"""How ill every border that faces right fits every border that faces left; 0 is best.

Borders run from top to bottom; in each row the inner pixel comes first, then the outer one, which touches the other
piece.
"""


@checked()
def facing_right(pieces: Float[Array, "n side side channels"], turns: int) -> Float[Array, "n side 2 channels"]:
    """The right borders of pieces that were turned by `turns` quarters anticlockwise."""
    return jnp.rot90(pieces, turns, axes=(1, 2))[:, :, -2:]


@checked()
def facing_left(pieces: Float[Array, "n side side channels"], turns: int) -> Float[Array, "n side 2 channels"]:
    """The left borders of pieces that were turned by `turns` quarters anticlockwise."""
    return jnp.rot90(pieces, turns, axes=(1, 2))[:, :, 1::-1]


def all_pairs(
    compare: Callable[[PyTree, PyTree], Float[Array, " n"]], one: PyTree, many: PyTree
) -> Float[Array, "m n"]:
    """A row for every entry of `one` (first axes): `compare(entry, many)`.

    Memory holds the differences of one border from n others at a time, not those of m·n pairs.
    """
    return jax.lax.map(lambda entry: compare(entry, many), one)
