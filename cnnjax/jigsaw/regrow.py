"""Loose pieces laid anew by a tree that grows on from what hangs together."""

import numpy as np
from jaxtyping import Int

from cnnjax.jigsaw.fill import fill
from cnnjax.jigsaw.pairs import Fits
from cnnjax.jigsaw.tree import Cluster, Edges, grow

_JITTER = 0.5


def regrow(
    states: Int[np.ndarray, "rows columns"],
    segment: Int[np.ndarray, "rows columns"],
    edges: Edges,
    guide: Fits,
    *,
    random: np.random.Generator,
) -> Int[np.ndarray, "rows columns"]:
    """Join the segments (equal numbers) of an arrangement anew along `edges`, jittered, and fill the grid round them.

    Unlike `infer` this may move and turn whole segments against each other, and lay the frame elsewhere.
    """
    turns, pieces = np.divmod(states.ravel(), guide.pieces)
    places = np.stack(np.unravel_index(np.arange(states.size), states.shape), axis=1)
    groups = [np.flatnonzero(segment == number) for number in np.unique(segment)]
    kept = [Cluster(pieces[group], places[group], turns[group]) for group in groups]
    jittered = edges.sorted_by(edges.costs + _JITTER * random.standard_normal(len(edges.costs)))
    return fill(grow(kept, jittered, states.shape, turns=guide.turns)[0], guide, states.shape)
