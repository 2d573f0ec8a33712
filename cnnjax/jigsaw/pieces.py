"""A photograph cut into square pieces, mixed, and put together again."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from cnnjax.door import checked
from cnnjax.door.pictures import check_unit_range, checked_image
from cnnjax.door.words import shown
from cnnjax.errors import InputError


class Cut(NamedTuple):
    """Pieces in reading order, the rows and columns of their grid, and the pixels that were cropped away."""

    pieces: Float[Array, "pieces side side channels"]
    grid: tuple[int, int]
    cropped: tuple[int, int]
    """Rows at the bottom and columns at the right that no whole piece covers."""


class Shuffled(NamedTuple):
    """Mixed pieces and where they belong: piece i lay in cell `cells[i]` and was turned `turns[i]` times."""

    pieces: Float[Array, "pieces side side channels"]
    cells: Int[Array, " pieces"]
    turns: Int[Array, " pieces"]
    """Quarter turns anticlockwise that restore the piece."""


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """Which piece lies in each cell of the grid, and how often it is turned (by 90° anticlockwise) to lie there."""

    pieces: Int[np.ndarray, "rows columns"]
    turns: Int[np.ndarray, "rows columns"]

    def turned(self, times: int) -> "Arrangement":
        """The whole arrangement turned by `times` quarters anticlockwise; an odd number exchanges rows and columns."""
        return Arrangement(np.rot90(self.pieces, times), (np.rot90(self.turns, times) + times) % 4)


@checked()
def cut(image: Float[Array, "height width *channels"], *, side: int) -> Cut:
    """Cut an image into square pieces of `side` pixels, from its upper left corner.

    What remains at the bottom and at the right is cropped. Raises InputError for a side below 4 pixels, from which
    fewer gradients come than a covariance of colours needs, where fewer than four pieces result, and for an image whose
    values are not in [0, 1].
    """
    image = checked_image("image", image)
    height, width = image.shape[:2]
    if side < 4:
        raise InputError(f"pieces of {side} pixels are too small to have borders to compare: give a side of 4 or more")
    rows, columns = height // side, width // side
    if rows * columns < 4:
        largest = max((s for s in range(4, max(height, width) + 1) if (height // s) * (width // s) >= 4), default=0)
        remedy = f"give a side of {largest} or less" if largest else "give a larger image"
        raise InputError(
            f"{height}×{width} pixels hold {rows * columns} pieces of {side}×{side}, and a puzzle needs four: {remedy}"
        )
    whole = image[: rows * side, : columns * side]
    pieces = whole.reshape(rows, side, columns, side, -1).swapaxes(1, 2).reshape(rows * columns, side, side, -1)
    return Cut(pieces, (rows, columns), (height - rows * side, width - columns * side))


@checked()
def shuffle(
    key: Key[Array, ""], pieces: Float[Array, "pieces side side channels"], *, rotate: bool = False
) -> Shuffled:
    """Mix pieces that lie in reading order, and with `rotate` turn each by a random number of quarters.

    Raises InputError for pieces whose values are not in [0, 1].
    """
    check_unit_range("pieces", pieces)
    for_order, for_turns = jax.random.split(key)
    n = len(pieces)
    cells = jax.random.permutation(for_order, n)
    turns = jax.random.randint(for_turns, (n,), 0, 4) if rotate else jnp.zeros(n, jnp.int32)
    return Shuffled(turn(pieces[cells], -turns), cells, turns)


@checked()
def turn(
    pieces: Float[Array, "pieces side side channels"], turns: Int[Array, " pieces"]
) -> Float[Array, "pieces side side channels"]:
    """Turn every piece by its own number of quarters, anticlockwise.

    Raises InputError for pieces whose values are not in [0, 1], and another number of turns than of pieces.
    """
    check_unit_range("pieces", pieces)
    if len(turns) != len(pieces):
        raise InputError(f"turns={shown(turns)} must be one for each of the {len(pieces)} pieces")
    every = jnp.stack([jnp.rot90(pieces, k, axes=(1, 2)) for k in range(4)])
    return every[turns % 4, jnp.arange(len(pieces))]


@checked()
def render(
    pieces: Float[Array, "pieces side side channels"], arrangement: Arrangement
) -> Float[Array, "height width channels"]:
    """Lay the pieces out as an image.

    Raises InputError for another number of pieces than cells, and values that are not in [0, 1].
    """
    check_unit_range("pieces", pieces)
    rows, columns = arrangement.pieces.shape
    n, side, _, channels = pieces.shape
    if n != rows * columns or not np.isin(arrangement.pieces, range(n)).all():
        raise InputError(f"{n} pieces do not fill {rows}×{columns} cells: give the arrangement of these pieces")
    laid = turn(pieces[arrangement.pieces.ravel()], jnp.asarray(arrangement.turns.ravel()))
    return laid.reshape(rows, columns, side, side, channels).swapaxes(1, 2).reshape(rows * side, columns * side, -1)


@checked()
def true_arrangement(shuffled: Shuffled, grid: tuple[int, int]) -> Arrangement:
    """The arrangement that restores the image; raises InputError for a grid that the pieces do not fill."""
    order = np.argsort(np.asarray(shuffled.cells))
    if min(grid) < 1 or grid[0] * grid[1] != len(order):
        raise InputError(f"{len(order)} pieces do not fill {grid[0]}×{grid[1]} cells: give the grid they fill")
    return Arrangement(order.reshape(grid), np.asarray(shuffled.turns)[order].reshape(grid))
