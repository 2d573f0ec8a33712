"""What can be known before and without the truth: whether pieces are alike, and whether they have any structure."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from cnnjax.door import checked
from cnnjax.door.pictures import check_unit_range
from cnnjax.errors import InputError
from cnnjax.jigsaw.pairs import Fits

_FEW_LOOPS = 5


class Diagnosis(NamedTuple):
    """How far a puzzle can be solved, judged from its pieces alone."""

    twins: int
    """Pieces whose frame, two pixels deep, another piece (or, where pieces may be turned, itself turned) has too."""
    best_buddies: float
    """The share of borders that are each other's best fit with another, clearly; about a half by chance."""
    loops: int
    """2×2 blocks that best buddies close; fewer than one is expected by chance."""
    structure: bool
    """Whether there are more loops than chance would close: five, or all that the grid has; in one row, none to see."""


@checked()
def diagnose(pieces: Float[Array, "n side side channels"], relative: Fits, grid: tuple[int, int]) -> Diagnosis:
    """Judge a puzzle from its pieces and their relative costs; raises InputError where these and the grid disagree."""
    if not len(pieces) == relative.pieces == grid[0] * grid[1] or min(grid) < 1:
        raise InputError(
            f"{len(pieces)} pieces, costs of {relative.pieces} and a grid of {grid} do not belong together"
        )
    labels = frames(pieces)[:, : relative.turns]
    _, first, counts = np.unique(labels, return_inverse=True, return_counts=True)
    twins = int((counts[first].reshape(labels.shape) > 1).any(axis=1).sum())
    right, down = best_buddies(relative.right), best_buddies(relative.down)
    loops = _closed_loops(right, down)[: relative.pieces].sum()
    possible = (grid[0] - 1) * (grid[1] - 1)
    structure = bool(loops >= min(_FEW_LOOPS, possible))
    return Diagnosis(twins, float(np.mean([right >= 0, down >= 0])), int(loops), structure and possible > 0)


@checked()
def best_buddies(relative: Float[np.ndarray, "states states"]) -> Int[np.ndarray, " states"]:
    """For every state its best buddy: the one that fits it best and that it fits best, both clearly; −1 for none.

    Pomeranz et al. (2011), section 3.2.
    """
    best = relative.argmin(axis=1)
    return np.where(relative[np.arange(len(best)), best] < 1, best, -1)


def _closed_loops(right: Int[np.ndarray, " states"], down: Int[np.ndarray, " states"]) -> np.ndarray:
    """Whether right then down, and down then right, lead from a state to the same one."""
    to_right, to_below = np.append(right, -1), np.append(down, -1)  # from nowhere (−1), nowhere
    there = to_below[right]
    return (there >= 0) & (there == to_right[down]) & (right != down)


@checked()
def frames(pieces: Float[Array, "n side side channels"]) -> Int[np.ndarray, "n 4"]:
    """A number for the frame of each piece in each turn; equal numbers are equal frames (to 8 bits, two pixels deep).

    Pieces of equal frames cannot be told apart by anything that looks at borders.
    Raises InputError for pieces whose values are not in [0, 1].
    """
    check_unit_range("pieces", pieces)
    bits = np.round(np.asarray(pieces) * 255).astype(np.int16)
    bits[:, 2:-2, 2:-2] = 0
    known: dict[bytes, int] = {}
    turned = [[np.rot90(piece, k).tobytes() for k in range(4)] for piece in bits]
    return np.array([[known.setdefault(frame, len(known)) for frame in row] for row in turned])
