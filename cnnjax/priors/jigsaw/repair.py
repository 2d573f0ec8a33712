"""Better arrangements from good ones: exact exchanges between cells that do not touch, segments to grow anew from."""

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cnnjax.priors.jigsaw.fits import Fits
from cnnjax.priors.jigsaw.tree import Cluster


def polish(states: Int[np.ndarray, "rows columns"], cost: Fits) -> Int[np.ndarray, "rows columns"]:
    """Exchange pieces until neither half of the chessboard can do better; `cost.total` never rises.

    The cells of one colour of a chessboard do not touch, so with the others held, what each piece costs in each of them
    is one table, and the best of all exchanges an assignment problem.
    """
    colour = np.add.outer(*map(np.arange, states.shape)) % 2
    total, without_gain = cost.total(states), 0
    while without_gain < 2:
        better = _exchange(states, *np.nonzero(colour == without_gain), cost)
        if (now := cost.total(better)) < total - 1e-6 * abs(total):
            states, total, without_gain = better, now, 0
        else:
            without_gain += 1
    return states


def _exchange(
    states: Int[np.ndarray, "rows columns"], y: np.ndarray, x: np.ndarray, cost: Fits
) -> Int[np.ndarray, "rows columns"]:
    padded = np.pad(states, 1, constant_values=-1)
    here = states[y, x] % cost.pieces
    choice = (np.arange(cost.turns)[:, None] * cost.pieces + here[None]).ravel()
    table = np.zeros((len(y), len(choice)))
    for (dy, dx), costs in {
        (0, -1): cost.right,
        (-1, 0): cost.down,
        (0, 1): cost.right.T,
        (1, 0): cost.down.T,
    }.items():
        neighbour = padded[y + 1 + dy, x + 1 + dx]
        table += np.where(neighbour[:, None] >= 0, costs[neighbour[:, None], choice[None]], 0)
    by_turn = table.reshape(len(y), cost.turns, len(here))
    cell, piece = linear_sum_assignment(by_turn.min(axis=1))
    new = states.copy()
    new[y[cell], x[cell]] = by_turn.argmin(axis=1)[cell, piece] * cost.pieces + here[piece]
    return new


def segments(
    states: Int[np.ndarray, "rows columns"], table: Fits, *, below: float, dropped: float, random: np.random.Generator
) -> list[Cluster]:
    """What hangs together by neighbours that cost less than `below`, a share `dropped` of them cut at random."""
    cells = np.arange(states.size).reshape(states.shape)
    across = table.right[states[:, :-1], states[:, 1:]] < below
    down = table.down[states[:-1], states[1:]] < below
    across &= random.random(across.shape) >= dropped
    down &= random.random(down.shape) >= dropped
    a = np.concatenate([cells[:, :-1][across], cells[:-1][down]])
    b = np.concatenate([cells[:, 1:][across], cells[1:][down]])
    _, label = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(states.size,) * 2), directed=False)
    groups = np.split(np.argsort(label, kind="stable"), np.cumsum(np.bincount(label))[:-1])
    turns, pieces = np.divmod(states.ravel(), table.pieces)
    places = np.stack(np.unravel_index(np.arange(states.size), states.shape), axis=1)
    return [Cluster(pieces[group], places[group], turns[group]) for group in groups]
