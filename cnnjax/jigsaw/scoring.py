"""How right an arrangement is: by place, and by neighbours."""

from collections import Counter
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.jigsaw.pairs import Fits
from cnnjax.jigsaw.pieces import Arrangement


class Score(NamedTuple):
    """The usual measures of a solved puzzle (Cho, Avidan and Freeman 2010), as shares."""

    direct: float
    """Pieces in their place, and turned right."""
    neighbour: float
    """Neighbours of the true image that are neighbours, by the same sides, in the arrangement: a shift keeps them."""

    @property
    def perfect(self) -> bool:
        """Whether every piece is in its place."""
        return self.direct == 1


@checked()
def score(found: Arrangement, truth: Arrangement, *, labels: Int[np.ndarray, "n 4"] | None = None) -> Score:
    """Compare an arrangement with the true one.

    Where pieces were turned, nothing says which side of the whole is up: the turn of the whole that agrees best counts.
    `labels` are numbers of pieces in each turn, such as those of `frames`, under which pieces of one number count as
    one; without them all pieces differ. Raises InputError for arrangements of different numbers of pieces.
    """
    if found.pieces.size != truth.pieces.size:
        raise InputError(f"arrangements of {found.pieces.size} and {truth.pieces.size} pieces cannot be compared")
    if labels is not None and labels.shape != (found.pieces.size, 4):
        raise InputError(f"labels have shape {labels.shape}; give ({found.pieces.size}, 4): each piece has four turns")
    if labels is None:
        labels = np.arange(4 * found.pieces.size).reshape(-1, 4)
    true_labels = labels[truth.pieces, truth.turns % 4]
    direct = 0.0
    for times in range(4):
        turned = found.turned(times)
        if turned.pieces.shape == truth.pieces.shape:
            direct = max(direct, float(np.mean(labels[turned.pieces, turned.turns] == true_labels)))
        if not (found.turns.any() or truth.turns.any()):
            break
    right, wanted = _neighbours(found, labels), _neighbours(truth, labels)
    return Score(direct, (right & wanted).total() / wanted.total())


@checked()
def right_cells(found: Arrangement, truth: Arrangement) -> tuple[Arrangement, np.ndarray]:
    """The arrangement turned as a whole so that most pieces are in their place, and which cells are."""
    whole = [found.turned(k) for k in range(4 if found.turns.any() or truth.turns.any() else 1)]
    whole = [turned for turned in whole if turned.pieces.shape == truth.pieces.shape]
    hits = [(turned.pieces == truth.pieces) & (turned.turns % 4 == truth.turns % 4) for turned in whole]
    best = int(np.argmax([hit.sum() for hit in hits]))
    return whole[best], hits[best]


@checked()
def right_best_neighbors(table: Fits, truth: Arrangement) -> float:
    """The share of borders between true neighbours that fit the other best: how good costs are before any assembly.

    Raises InputError for costs of another number of pieces.
    """
    if table.pieces != truth.pieces.size:
        raise InputError(f"costs of {table.pieces} pieces do not fit an arrangement of {truth.pieces.size}")
    states = truth.turns % table.turns * table.pieces + truth.pieces
    hits = []
    for cost, first, second in ((table.right, states[:, :-1], states[:, 1:]), (table.down, states[:-1], states[1:])):
        hits += [cost.argmin(axis=1)[first] == second, cost.argmin(axis=0)[second] == first]
    return float(np.mean(np.concatenate([hit.ravel() for hit in hits])))


def _neighbours(arrangement: Arrangement, labels: Int[np.ndarray, "n 4"]) -> Counter[tuple[int, int]]:
    """All pairs of neighbours, each turned so that one is at the right of the other, whichever way round."""

    def turned(by: int) -> np.ndarray:
        return labels[arrangement.pieces, (arrangement.turns + by) % 4]

    # What lies below lies at the right after one quarter anticlockwise.
    pairs = [(turned(0)[:, :-1], turned(0)[:, 1:], turned(2)[:, 1:], turned(2)[:, :-1])]
    pairs += [(turned(1)[:-1], turned(1)[1:], turned(3)[1:], turned(3)[:-1])]
    both = np.concatenate([np.stack([x.ravel() for x in quadruple], axis=1) for quadruple in pairs])
    return Counter(min((a, b), (c, d)) for a, b, c, d in both.tolist())
