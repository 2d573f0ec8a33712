"""A square jigsaw puzzle solved: compare, agree, grow a tree, fill the grid, and repair."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

from cnnjax.errors import InputError
from cnnjax.priors.jigsaw.borders import Dissimilarity
from cnnjax.priors.jigsaw.diagnosis import Diagnosis, diagnose
from cnnjax.priors.jigsaw.dissimilarity import gradient_and_prediction
from cnnjax.priors.jigsaw.fill import fill
from cnnjax.priors.jigsaw.fits import Fits, agreed, fits, relative
from cnnjax.priors.jigsaw.pieces import Arrangement
from cnnjax.priors.jigsaw.repair import polish, segments
from cnnjax.priors.jigsaw.tree import Cluster, Edges, candidates, grow

_CAP_OF_OBJECTIVE, _CAP_OF_AGREED = 3.0, 6.0
_LINKS = (0.1, 0.4, 0.8, 1.5)  # −log likelihoods below which neighbours stay together in a repair
_DROPPED = (0.0, 0.0, 0.05, 0.1)
_JITTER = 0.5


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


def solve(
    pieces: Float[Array, "n side side 3"],
    grid: tuple[int, int],
    key: Key[Array, ""],
    *,
    rotate: bool = False,
    dissimilarity: Dissimilarity = gradient_and_prediction,
    patience: int = 12,
    progress: Callable[[int, int, str], None] | None = None,
) -> Solution:
    """Put square pieces, RGB in [0, 1], together to `grid` (rows, columns); with `rotate` they may be turned.

    A tree of the surest neighbours is grown, its largest cluster laid into the grid and the rest filled in. Then, again
    and again, what hangs together well is kept, the rest taken apart and grown anew with jittered costs, and the
    arrangement of the lowest objective stays; `patience` such repairs without gain end the search. The answer follows
    from the pieces, not from their numbering, and uses each exactly once.

    Raises InputError where the pieces do not fill the grid, or are too many to compare.
    """
    n = len(pieces)
    if n != grid[0] * grid[1] or n < 4:
        raise InputError(
            f"{n} pieces do not fill {grid[0]}×{grid[1]} cells: give the grid they fill, of 4 cells or more"
        )
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    report = progress or (lambda done, total, text: None)
    # Among equals the first is taken: sorted by content, a numbering that knows the answer cannot help.
    host = np.asarray(pieces)
    order = np.array(sorted(range(n), key=lambda i: host[i].tobytes()))
    report(0, patience + 1, "comparing borders")
    ratio = relative(fits(pieces[order], dissimilarity, rotate=rotate))
    likely = agreed(ratio)
    cost, guide = ratio.capped(_CAP_OF_OBJECTIVE), likely.capped(_CAP_OF_AGREED)
    edges = candidates(likely)

    def build(clusters: list[Cluster], edges: Edges) -> Int[np.ndarray, "rows columns"]:
        return polish(fill(grow(clusters, edges, grid, turns=ratio.turns)[0], guide, grid), cost)

    report(0, patience + 1, "growing a tree")
    best = build([Cluster(np.array([i]), np.zeros((1, 2), int), np.zeros(1, int)) for i in range(n)], edges)
    objective, since = cost.total(best), 0
    while since < patience:
        report(since + 1, patience + 1, f"repairing, objective {objective:.1f}")
        kept = segments(best, likely, below=random.choice(_LINKS), dropped=random.choice(_DROPPED), random=random)
        jittered = edges.sorted_by(edges.costs + _JITTER * random.standard_normal(len(edges.costs)))
        found = build(kept, jittered)
        since += 1
        if (total := cost.total(found)) < objective - 1e-6 * objective:
            best, objective, since = found, total, 0
    turns, numbers = np.divmod(best, n)
    report(patience + 1, patience + 1, f"objective {objective:.1f}")
    diagnosis = diagnose(pieces[order], ratio, grid)
    return Solution(Arrangement(order[numbers], turns), objective, diagnosis, cost, order)
