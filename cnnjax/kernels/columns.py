"""Columns of a map that are computed at once, and runs of such blocks that read alike."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple


class Block(NamedTuple):
    """Output columns computed at once: for each tap, the column it reads for each of them, from a base on."""

    columns: tuple[int, ...]
    base: int
    pattern: tuple[tuple[int | None, ...], ...]


class Run(NamedTuple):
    """Blocks of one pattern at even distances, which one loop computes."""

    block: Block
    """The first of them."""
    blocks: int
    column_step: int
    base_step: int


def column_runs(places: Sequence[Sequence[int | None]], *, period: int, most: int) -> list[Run]:
    """All columns, in blocks of at most `most` whose columns are `period` apart.

    `places` has the column that each tap reads for each output column, None where it reads none.
    """
    runs: list[list[Block]] = []
    width = len(places[0])
    for residue in range(min(period, width)):
        columns = list(range(residue, width, period))
        pieces = math.ceil(len(columns) / most)
        cuts = [len(columns) * k // pieces for k in range(pieces + 1)]
        for begin, end in itertools.pairwise(cuts):
            chosen = tuple(columns[begin:end])
            reads = [[tap[j] for j in chosen] for tap in places]
            base = min((r for tap in reads for r in tap if r is not None), default=0)
            pattern = tuple(tuple(None if r is None else r - base for r in tap) for tap in reads)
            block = Block(chosen, base, pattern)
            if runs and runs[-1][-1].pattern == pattern and _even(runs[-1], block):
                runs[-1].append(block)
            else:
                runs.append([block])
    return [_run(blocks) for blocks in runs]


def segments(places: Sequence[Sequence[int | None]]) -> list[tuple[int, int]]:
    """Ranges of columns in which the same taps read the map, without those in which none does."""
    width = len(places[0])
    reach = [tuple(tap[j] is not None for tap in places) for j in range(width)]
    cuts = [0, *(j for j in range(1, width) if reach[j] != reach[j - 1]), width]
    return [(a, b) for a, b in itertools.pairwise(cuts) if any(reach[a])]


def row_table(places: Sequence[Sequence[int | None]]) -> tuple[dict[str, list[int]], int, int]:
    """Which taps read the map for each output row: the first tap, how many, and the row that the first reads.

    Also how far apart those taps are, and the rows that they read: the same for every output row.
    """
    rows = [[(tap, place[i]) for tap, place in enumerate(places)] for i in range(len(places[0]))]
    taps = [[(tap, read) for tap, read in row if read is not None] for row in rows]
    steps = {(b[0] - a[0], b[1] - a[1]) for row in taps for a, b in itertools.pairwise(row)}
    (tap_step, row_step), *others = steps or {(1, 1)}
    assert not others, steps
    return {
        "first": [row[0][0] if row else 0 for row in taps],
        "count": [len(row) for row in taps],
        "row": [row[0][1] if row else 0 for row in taps],
    }, tap_step, row_step  # fmt: skip


def _even(blocks: list[Block], block: Block) -> bool:
    """Whether a block follows at the distance at which the blocks follow each other."""
    return len(blocks) == 1 or _step(blocks[-1], block) == _step(blocks[0], blocks[1])


def _step(a: Block, b: Block) -> tuple[int, int]:
    return b.columns[0] - a.columns[0], b.base - a.base


def _run(blocks: list[Block]) -> Run:
    return Run(blocks[0], len(blocks), *(_step(*blocks[:2]) if len(blocks) > 1 else (0, 0)))
