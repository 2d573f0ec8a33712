"""What hangs together in an arrangement, and what is loose enough to be laid anew."""

import numpy as np
from jaxtyping import Bool, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cnnjax.jigsaw.pairs import Fits


def segments(
    states: Int[np.ndarray, "rows columns"], table: Fits, *, below: float, dropped: float, random: np.random.Generator
) -> Int[np.ndarray, "rows columns"]:
    """Number what hangs together by neighbours that cost less than `below`, a share `dropped` of them cut at random."""
    cells = np.arange(states.size).reshape(states.shape)
    across = table.right[states[:, :-1], states[:, 1:]] < below
    down = table.down[states[:-1], states[1:]] < below
    across &= random.random(across.shape) >= dropped
    down &= random.random(down.shape) >= dropped
    a = np.concatenate([cells[:, :-1][across], cells[:-1][down]])
    b = np.concatenate([cells[:, 1:][across], cells[1:][down]])
    _, label = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(states.size,) * 2), directed=False)
    return label.reshape(states.shape)


def loosened(
    segment: Int[np.ndarray, "rows columns"], *, kept: float, most: int, random: np.random.Generator
) -> Bool[np.ndarray, "rows columns"]:
    """The cells to lay anew: all but the largest segment and a share `kept` of the others that have two cells or more.

    Where these are more than `most`, those nearest to one of them, drawn at random.
    """
    sizes = np.bincount(segment.ravel())
    stays = (sizes > 1) & (random.random(len(sizes)) < kept)
    stays[sizes.argmax()] = True
    loose = ~stays[segment]
    cells = np.argwhere(loose)
    if len(cells) > most:
        distances = ((cells - cells[random.integers(len(cells))]) ** 2).sum(axis=1)
        far = cells[np.argsort(distances, kind="stable")[most:]]
        loose[far[:, 0], far[:, 1]] = False
    return loose
