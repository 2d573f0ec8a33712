"""How far two halves of a layer lie apart in what their filters prefer, against halves drawn by chance."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from cnnjax.errors import InputError

SEED = 0
"""Of the random splits: the same table each time."""


class Separation(NamedTuple):
    """The separation of each network's halves, and what chance makes of the same filters."""

    observed: Float[np.ndarray, " networks"]
    """`rank_biserial` without its sign: no half is the first."""
    by_chance: Float[np.ndarray, "networks splits"]
    """The same of random halves."""

    @property
    def p(self) -> float:
        """How often random halves of all the networks lie as far apart in the mean over networks; never 0."""
        means = self.by_chance.mean(0)
        return (1 + int((means >= self.observed.mean() - 1e-12).sum())) / (1 + means.size)


def rank_biserial(values: Float[np.ndarray, " filters"], first: Bool[np.ndarray, " filters"]) -> float:
    """`2 U / (n m) − 1`, with the U of Mann & Whitney 1947: how much oftener one half has the larger value.

    1 where each of the n filters of the `first` half has a larger value than each of the m others, −1 where each has a
    smaller one, 0 where neither is more frequent; ties count a half. Raises InputError where a half is empty.
    """
    n, m = int(first.sum()), int((~first).sum())
    if not n or not m:
        raise InputError(f"halves of {n} and {m} filters cannot be compared: give a layer of two filters or more")
    return float(_from_ranks(_ranks(values)[first].sum(), n, m))


def separation(
    values: Sequence[Float[np.ndarray, " filters"]], first: Sequence[Bool[np.ndarray, " filters"]], *, splits: int
) -> Separation:
    """The separation of the halves of each network, and of `splits` random splits of it into halves of the same sizes.

    A layer may have other filters in each network, as where those of zeros have no value and are left out.
    """
    random = np.random.default_rng(SEED)
    observed = [abs(rank_biserial(each, half)) for each, half in zip(values, first, strict=True)]
    by_chance = []
    for each, half in zip(values, first, strict=True):
        ranks, n = _ranks(each), int(half.sum())
        shuffled = random.permuted(np.broadcast_to(ranks, (splits, len(ranks))), axis=1)
        by_chance.append(np.abs(_from_ranks(shuffled[:, :n].sum(1), n, len(ranks) - n)))
    return Separation(np.array(observed), np.stack(by_chance))


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(values)


def _from_ranks(rank_sum: np.ndarray, n: int, m: int) -> np.ndarray:
    return 2 * (rank_sum - n * (n + 1) / 2) / (n * m) - 1
