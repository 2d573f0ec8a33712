"""Better arrangements by exact exchanges: half a chessboard at once, and any two pieces."""

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from cnnjax.jigsaw.pairs import Fits

_MOST_SWAPPED = 1000


def polish(states: Int[np.ndarray, "rows columns"], cost: Fits) -> Int[np.ndarray, "rows columns"]:
    """Exchange pieces until neither half of the chessboard nor any pair can do better; `cost.total` never rises.

    `cost` is finite, such as capped costs are. Pairs are left out in grids of more than 1,000 cells, where each
    exchange would take a table of millions.
    """
    colour = np.add.outer(*map(np.arange, states.shape)) % 2
    moves = [
        lambda now: _exchange(now, np.argwhere(colour == 0), cost),
        lambda now: _exchange(now, np.argwhere(colour == 1), cost),
    ]
    if states.size <= _MOST_SWAPPED:
        moves.append(lambda now: swap_two(now, cost))
    total, without_gain = cost.total(states), 0
    while without_gain < len(moves):
        better = moves[without_gain](states)
        if (now := cost.total(better)) < total - 1e-6 * abs(total):
            states, total, without_gain = better, now, 0
        else:
            without_gain += 1
    return states


def _exchange(
    states: Int[np.ndarray, "rows columns"], cells: Int[np.ndarray, "cells 2"], cost: Fits
) -> Int[np.ndarray, "rows columns"]:
    """The best of all exchanges among cells that do not touch.

    With the others held, what each piece costs in each of them is one table, and the best an assignment problem.
    """
    table = _placed(states, cells, cost)
    y, x = cells.T
    cell, piece = linear_sum_assignment(table.min(axis=1))
    new = states.copy()
    new[y[cell], x[cell]] = table.argmin(axis=1)[cell, piece] * cost.pieces + (states[y, x] % cost.pieces)[piece]
    return new


def swap_two(states: Int[np.ndarray, "rows columns"], cost: Fits) -> Int[np.ndarray, "rows columns"]:
    """Exchange the two pieces, turned as suits them, whose exchange lowers `cost.total` most; as it was if none does.

    Unlike the halves of a chessboard this also exchanges neighbours.
    """
    rows, columns = states.shape
    cells = np.arange(states.size).reshape(rows, columns)
    table = _placed(states, np.argwhere(cells >= 0), cost)
    turn, piece = np.divmod(states.ravel(), cost.pieces)
    own = table[cells.ravel(), turn, cells.ravel()]
    alone = table.min(axis=1)
    change = alone + alone.T - own[:, None] - own[None]
    turned = np.arange(cost.turns)[:, None] * cost.pieces + piece[None]
    touching: dict[tuple[int, int], int] = {}
    for a, b, costs in (
        (cells[:, :-1].ravel(), cells[:, 1:].ravel(), cost.right),
        (cells[:-1].ravel(), cells[1:].ravel(), cost.down),
    ):
        # Between neighbours the table counts a piece beside itself: put what they cost beside each other instead.
        there, here = states.ravel()[a], states.ravel()[b]
        first = table[a, :, b] - costs[turned[:, b], here].T
        second = table[b, :, a] - costs[there, turned[:, a]].T
        both = first[:, :, None] + second[:, None] + costs[turned[:, None, b], turned[None, :, a]].transpose(2, 0, 1)
        both = both.reshape(len(a), cost.turns**2)
        change[a, b] = both.min(axis=1) - (own[a] + own[b] - costs[there, here])
        change[b, a] = np.inf
        touching |= dict(zip(zip(a.tolist(), b.tolist(), strict=True), both.argmin(axis=1).tolist(), strict=True))
    np.fill_diagonal(change, np.inf)
    one, other = np.unravel_index(change.argmin(), change.shape)
    if change[one, other] >= 0:
        return states
    if (pair := touching.get((int(one), int(other)))) is not None:
        turns = np.divmod(pair, cost.turns)
    else:
        turns = table[one, :, other].argmin(), table[other, :, one].argmin()
    new = states.copy()
    new.flat[[one, other]] = turned[turns[0], other], turned[turns[1], one]
    return new


def _placed(
    states: Int[np.ndarray, "rows columns"], cells: Int[np.ndarray, "cells 2"], cost: Fits
) -> Float[np.ndarray, "cells turns cells"]:
    """What it costs to lay in each of these cells, in each turn, each of the pieces that lie in them (last axis)."""
    y, x = cells.T
    padded = np.pad(states, 1, constant_values=-1)
    choice = (np.arange(cost.turns)[:, None] * cost.pieces + states[y, x] % cost.pieces).ravel()
    table = np.zeros((len(y), len(choice)))
    for (dy, dx), costs in {
        (0, -1): cost.right,
        (-1, 0): cost.down,
        (0, 1): cost.right.T,
        (1, 0): cost.down.T,
    }.items():
        neighbour = padded[y + 1 + dy, x + 1 + dx]
        table += np.where(neighbour[:, None] >= 0, costs[neighbour[:, None], choice[None]], 0)
    return table.reshape(len(y), cost.turns, len(y))
