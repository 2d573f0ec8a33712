"""Pieces put one by one round a cluster until the grid is full."""

import numpy as np
from jaxtyping import Float, Int

from cnnjax.jigsaw.pairs import Fits
from cnnjax.jigsaw.tree import Cluster


def fill(cluster: Cluster, cost: Fits, grid: tuple[int, int]) -> Int[np.ndarray, "rows columns"]:
    """Lay a cluster into the grid, and the other pieces round it: where most neighbours speak, then the cheapest.

    The cluster may be smaller than the grid; its place in it follows as it grows. Returns a state for each cell.
    """
    rows, columns = grid
    if np.any(np.ptp(cluster.cells, axis=0) >= grid):
        cluster = cluster.moved(1, np.zeros(2, int), np.zeros(2, int))
    # A canvas on which the grid can slide, with a margin; -1 is an empty cell.
    canvas = np.full((2 * rows + 1, 2 * columns + 1), -1)
    cells = cluster.cells - cluster.cells.max(axis=0) + grid
    canvas[cells[:, 0], cells[:, 1]] = cluster.turns * cost.pieces + cluster.pieces
    low, high = cells.min(axis=0), cells.max(axis=0)
    free = np.ones(cost.pieces, bool)
    free[cluster.pieces] = False
    open_cells: dict[tuple[int, int], Float[np.ndarray, "neighbours states"]] = {}

    def look_round(y: int, x: int) -> None:
        for v, u in ((y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)):
            if 0 < v < 2 * rows and 0 < u < 2 * columns and canvas[v, u] < 0:
                open_cells[v, u] = neighbour_costs(canvas, v, u, cost)

    for y, x in cells.tolist():
        look_round(y, x)
    while free.any():
        choices = []
        for (y, x), costs in open_cells.items():
            if np.all(np.maximum(high, (y, x)) - np.minimum(low, (y, x)) < grid):
                mean = np.where(np.tile(free, cost.turns), costs.mean(axis=0), np.inf)
                state = int(mean.argmin())
                choices.append((-len(costs), float(mean[state]), y, x, state))
        _, _, y, x, state = min(choices)
        canvas[y, x] = state
        free[state % cost.pieces] = False
        del open_cells[y, x]
        low, high = np.minimum(low, (y, x)), np.maximum(high, (y, x))
        look_round(y, x)
    return canvas[low[0] : low[0] + rows, low[1] : low[1] + columns]


def neighbour_costs(
    canvas: Int[np.ndarray, "height width"], y: int, x: int, cost: Fits
) -> Float[np.ndarray, "neighbours states"]:
    """What every state would cost in a cell, by each of its neighbours that is there."""
    left, right, above, below = canvas[y, x - 1], canvas[y, x + 1], canvas[y - 1, x], canvas[y + 1, x]
    costs = [table[state] for table, state in ((cost.right, left), (cost.down, above)) if state >= 0]
    costs += [table[:, state] for table, state in ((cost.right, right), (cost.down, below)) if state >= 0]
    return np.stack(costs)
