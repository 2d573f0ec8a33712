"""Clusters of pieces that grow together along the surest fits and never overlap: a constrained spanning tree.

Gallagher (2012), section 4: Kruskal's algorithm, where two clusters join only if no two pieces come to lie in one cell.
Here, besides, only if what they make fits the grid, whose size is known.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from cnnjax.jigsaw.pairs import Fits

_RIGHT, _DOWN = 0, 3
_AHEAD = np.array([(0, 1), (-1, 0), (0, -1), (1, 0)])
"""Row and column of the neighbour at the right, after so many quarters anticlockwise."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Pieces that lie fast to each other: their numbers, their cells (row, column), and their turns."""

    pieces: Int[np.ndarray, " m"]
    cells: Int[np.ndarray, "m 2"]
    turns: Int[np.ndarray, " m"]

    def moved(self, quarters: int, pivot: Int[np.ndarray, " 2"], to: Int[np.ndarray, " 2"]) -> "Cluster":
        """Turned by `quarters` anticlockwise about the cell `pivot`, which then comes to lie at the cell `to`."""
        cells = self.cells - pivot
        for _ in range(quarters):
            cells = np.stack([-cells[:, 1], cells[:, 0]], axis=1)
        return Cluster(self.pieces, cells + to, (self.turns + quarters) % 4)

    def joined(self, other: "Cluster") -> "Cluster":
        """Both as one."""
        both = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Cluster(*map(np.concatenate, both))


@dataclasses.dataclass(frozen=True)
class Edges:
    """Neighbours worth trying: two states, the direction from the first to the second in quarters, and their cost."""

    states: Int[np.ndarray, "edges 2"]
    directions: Int[np.ndarray, " edges"]
    costs: Float[np.ndarray, " edges"]

    def sorted_by(self, costs: Float[np.ndarray, " edges"]) -> "Edges":
        """In ascending order of `costs`."""
        order = np.argsort(costs, kind="stable")
        return Edges(self.states[order], self.directions[order], self.costs[order])


def candidates(table: Fits, *, each: int = 16) -> Edges:
    """The `each` best neighbours of every state on every side, the best of all first."""
    parts = []
    tables = [(table.right, _RIGHT)] if table.turns == 4 else [(table.right, _RIGHT), (table.down, _DOWN)]
    for cost, direction in tables:
        k = min(each, len(cost) - 1)
        every = np.arange(len(cost))
        rows = np.stack([np.repeat(every, k), np.argpartition(cost, k, axis=1)[:, :k].ravel()], axis=1)
        columns = np.stack([np.argpartition(cost, k, axis=0)[:k].ravel(), np.tile(every, k)], axis=1)
        pairs = np.unique(np.concatenate([rows, columns]), axis=0)
        if table.turns == 4:  # a pair turned round is the same pair
            pairs = pairs[pairs[:, 0] % table.pieces < pairs[:, 1] % table.pieces]
        costs = cost[pairs[:, 0], pairs[:, 1]]
        pairs, costs = pairs[np.isfinite(costs)], costs[np.isfinite(costs)]
        parts.append((pairs, np.full(len(pairs), direction), costs))
    edges = Edges(*map(np.concatenate, zip(*parts, strict=True)))
    return edges.sorted_by(edges.costs)


def grow(clusters: Sequence[Cluster], edges: Edges, grid: tuple[int, int], *, turns: int) -> list[Cluster]:
    """Join clusters along `edges`, in their order, where that gives no overlap and fits the grid; the largest first.

    Where pieces have turns, the grid may stand or lie.
    """
    shapes = {grid, grid[::-1]} if turns == 4 else {grid}
    n = sum(len(cluster.pieces) for cluster in clusters)
    alive = dict(enumerate(clusters))
    taken = {name: set(map(tuple, cluster.cells.tolist())) for name, cluster in alive.items()}
    member, turned, where = np.empty(n, int), np.empty(n, int), np.empty((n, 2), int)

    def record(name: int, cluster: Cluster) -> None:
        member[cluster.pieces], where[cluster.pieces], turned[cluster.pieces] = name, cluster.cells, cluster.turns

    for name, cluster in alive.items():
        record(name, cluster)
    for (a, b), direction in zip(edges.states.tolist(), edges.directions.tolist(), strict=True):
        i, j = a % n, b % n
        if member[i] == member[j]:
            continue
        if len(alive[int(member[i])].pieces) < len(alive[int(member[j])].pieces):  # the smaller one moves
            a, b, i, j, direction = b, a, j, i, direction + 2
        stays, moves = int(member[i]), int(member[j])
        quarters = (turned[i] - a // n) % 4  # from the pair as the edge says it, to the pair as it would lie
        to = where[i] + _AHEAD[(direction + quarters) % 4]
        moved = alive[moves].moved(int(quarters + b // n - turned[j]) % 4, where[j], to)
        cells = set(map(tuple, moved.cells.tolist()))
        if not taken[stays].isdisjoint(cells):
            continue
        joined = alive[stays].joined(moved)
        height, width = np.ptp(joined.cells, axis=0) + 1
        if not any(height <= rows and width <= columns for rows, columns in shapes):
            continue
        alive[stays] = joined
        taken[stays] |= cells
        record(stays, moved)
        del alive[moves], taken[moves]
    return sorted(alive.values(), key=lambda cluster: -len(cluster.pieces))
