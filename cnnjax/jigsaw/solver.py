"""A square jigsaw puzzle solved: compare, agree, grow a tree, fill the grid, and repair."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from cnnjax.door import checked
from cnnjax.door.pictures import check_unit_range
from cnnjax.errors import InputError
from cnnjax.jigsaw.borders import Dissimilarity
from cnnjax.jigsaw.diagnosis import Diagnosis, diagnose
from cnnjax.jigsaw.dissimilarity import gradient_and_prediction
from cnnjax.jigsaw.fill import fill
from cnnjax.jigsaw.infer import infer
from cnnjax.jigsaw.pairs import Fits, agreed, fits, relative
from cnnjax.jigsaw.pieces import Arrangement
from cnnjax.jigsaw.polish import polish
from cnnjax.jigsaw.regrow import regrow
from cnnjax.jigsaw.segments import loosened, segments
from cnnjax.jigsaw.tree import Cluster, candidates, grow
from cnnjax.reporting import Report, silent

_CAP_OF_OBJECTIVE, _CAP_OF_AGREED = 3.0, 6.0
# A repair draws one of each:
_LINKS = (0.02, 0.1, 0.4, 0.8)  # −log likelihoods below which neighbours hang together
_LINKS_OF_TURNED = (0.1, 0.4, 0.8, 1.5)
_DROPPED = (0.0, 0.0, 0.05, 0.1)
_KEPT = (0.0, 0.3, 0.6)
_SHIFTED, _SHIFT = 0.25, 2
_MOST_LOOSE = 400


@dataclasses.dataclass(frozen=True)
class Solution:
    """The best arrangement found, what it costs, and what the pieces say about how far to trust it."""

    arrangement: Arrangement
    objective: float
    """The sum over neighbours of their relative costs, each capped at 3."""
    diagnosis: Diagnosis
    _cost: Fits
    _order: Int[np.ndarray, " n"]

    def objective_of(self, arrangement: Arrangement) -> float:
        """What another arrangement of the same pieces costs; if the truth costs more, it is the prior that failed."""
        place = np.argsort(self._order)[arrangement.pieces]
        return self._cost.total(arrangement.turns % self._cost.turns * self._cost.pieces + place)


@checked()
def solve(
    pieces: Float[Array, "n side side 3"],
    grid: tuple[int, int],
    *,
    key: Key[Array, ""],
    rotate: bool = False,
    dissimilarity: Dissimilarity = gradient_and_prediction,
    patience: int = 24,
    progress: Report = silent,
) -> Solution:
    """Put square pieces, RGB in [0, 1], together to `grid` (rows, columns); with `rotate` they may be turned.

    A tree of the surest neighbours is grown, its largest cluster laid into the grid and the rest filled in. Then, again
    and again, what hangs together well is held, now and then shifted as a whole, the rest inferred anew, and the
    arrangement of the lowest objective stays; `patience` such repairs without gain end the search. Pieces that may be
    turned are not inferred, which would cost 16 times as much and seldom gains there: the tree grows on from what
    hangs together, and such a repair counts twice. The answer follows from the pieces, not from their numbering, and
    uses each exactly once.

    Raises InputError for pieces that are not squares of RGB in [0, 1], do not fill the grid, or are too many to
    compare.
    """
    _check(pieces, grid, patience)
    n = len(pieces)
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    # Among equals the first is taken: sorted by content, a numbering that knows the answer cannot help.
    host = np.asarray(pieces)
    order = np.array(sorted(range(n), key=lambda i: host[i].tobytes()))
    progress(0, patience + 1, "comparing borders")
    ratio = relative(fits(pieces[order], dissimilarity, rotate=rotate))
    likely = agreed(ratio)
    cost, guide = ratio.capped(_CAP_OF_OBJECTIVE), likely.capped(_CAP_OF_AGREED)
    edges = candidates(likely)

    def inferred(states: Int[np.ndarray, "rows columns"]) -> Int[np.ndarray, "rows columns"]:
        # The frame may lie wrong: what leaves it at one side comes in at the other.
        if random.random() < _SHIFTED:
            states = np.roll(states, random.integers(-_SHIFT, _SHIFT + 1, 2), axis=(0, 1))
        segment = segments(states, likely, below=random.choice(_LINKS), dropped=random.choice(_DROPPED), random=random)
        loose = loosened(segment, kept=random.choice(_KEPT), most=_MOST_LOOSE, random=random)
        return infer(states, loose, guide)

    def regrown(states: Int[np.ndarray, "rows columns"]) -> Int[np.ndarray, "rows columns"]:
        link = random.choice(_LINKS_OF_TURNED)
        segment = segments(states, likely, below=link, dropped=random.choice(_DROPPED), random=random)
        return regrow(states, segment, edges, guide, random=random)

    repaired, counts = (regrown, 2) if rotate else (inferred, 1)
    progress(0, patience + 1, "growing a tree")
    single = [Cluster(np.array([i]), np.zeros((1, 2), int), np.zeros(1, int)) for i in range(n)]
    best = polish(fill(grow(single, edges, grid, turns=ratio.turns)[0], guide, grid), cost)
    objective, since = cost.total(best), 0
    while since < patience:
        progress(since + 1, patience + 1, f"repairing, objective {objective:.1f}")
        found = polish(repaired(best), cost)
        since += counts
        if (total := cost.total(found)) < objective - 1e-6 * objective:
            best, objective, since = found, total, 0
    turns, numbers = np.divmod(best, n)
    progress(patience + 1, patience + 1, f"objective {objective:.1f}")
    diagnosis = diagnose(pieces[order], ratio, grid)
    return Solution(Arrangement(order[numbers], turns), objective, diagnosis, cost, order)


def _check(pieces: Array, grid: tuple[int, int], patience: int) -> None:
    n, *shape = pieces.shape
    if len(shape) != 3 or shape[0] != shape[1] or shape[0] < 4 or shape[2] != 3:
        raise InputError(
            f"pieces of shape {tuple(shape)} are no puzzle: give squares of 4 pixels or more, of three channels"
        )
    if min(grid) < 1 or n != grid[0] * grid[1] or n < 4:
        raise InputError(
            f"{n} pieces do not fill {grid[0]}×{grid[1]} cells: give the grid they fill, of 4 cells or more"
        )
    if not jnp.issubdtype(pieces.dtype, jnp.floating):
        raise InputError(f"pieces of {pieces.dtype} must be floats in [0, 1]: divide uint8 pixels by 255")
    check_unit_range("pieces", pieces)
    if patience < 0:
        raise InputError(f"patience={patience} must not be negative")
