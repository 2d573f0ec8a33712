"""Whether a measure ranks functions rightly: every exactly equivariant one below every other."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnnjax.stats import Interval, over_seeds
from experiments.measures.families import FAMILIES, Family
from experiments.measures.functions import FUNCTIONS

MEASURES = {
    "LEE": "Lie derivative, as published",
    "Lie": "Lie derivative, relative",
    "Lie, function": "Lie derivative, function's term",
    "error": "equivariance error",
    "linear map": "error after a linear map",
    "orthogonal map": "error after an orthogonal map",
    "1 − CKA": "1 − CKA",
    "variance": "normalised variance",
    "1 − consistency": "1 − consistency",
    "1 − adjusted": "1 − adjusted consistency",
    "accuracy drop": "drop of accuracy",
}
"""What is ranked by, the less the more equivariant: by its key in a cell's values."""
MIXING = ("linear map", "orthogonal map", "1 − CKA")
"""Measures that allow for a linear map of the channels."""

Found = Mapping[tuple[int, str], Mapping[Family, Mapping[str, Sequence[float | None]]]]
"""By canvas and function, then by family and measure: a number for each group of images."""


def floor(measure: str) -> float:
    """What is taken for rounding: values below are equal. LEE is a square."""
    return 1e-12 if measure == "LEE" else 1e-6


def is_exact(function: str, family: Family, measure: str) -> bool | None:
    """Whether the function is equivariant as far as the measure can mean it; None where it counts as neither."""
    if FUNCTIONS[function].ignores:
        return None
    truth = FUNCTIONS[function].truth[family]
    return {"exact": True, "no": False, "mixes": measure in MIXING, "nearly": None}[truth]


def auc(exact: np.ndarray, other: np.ndarray) -> float:
    """The share of pairs in which the exact function has the lower value; equal ones count half.

    1: all rightly; ½: not told apart; 0: all inverted.
    """
    pairs = exact[:, None], other[None]
    return float(((pairs[0] < pairs[1]) + 0.5 * (pairs[0] == pairs[1])).mean())


def margin(exact: np.ndarray, other: np.ndarray) -> float:
    """The decimal logarithm of the others' least value over the exact functions' greatest: below 0, one is inverted."""
    return float(np.log10(other.min() / exact.max()))


@dataclasses.dataclass(frozen=True)
class Rank:
    """How one measure ranks the functions of one family on one canvas, with intervals over groups of images."""

    canvas: int
    family: Family
    measure: str
    auc: Interval
    margin: Interval
    exact: int
    """How many functions are exact."""
    other: int
    worst_exact: str
    """The exact function with the greatest value."""
    best_other: str
    """The other function with the least."""

    @property
    def rightly(self) -> bool:
        """Whether every pair is in the right order in every group of images."""
        return self.auc.low == self.auc.mean == 1 or (self.auc.n == 1 and self.auc.mean == 1)


def ranks(found: Found, families: Sequence[Family]) -> list[Rank]:
    """Every measure on every canvas, for families with an exact function and another one."""
    rows = []
    for canvas in dict.fromkeys(canvas for canvas, _ in found):
        of = {function: values for (side, function), values in found.items() if side == canvas}
        for measure in MEASURES:
            for family in families:
                if (rank := _rank(of, canvas, family, measure)) is not None:
                    rows.append(rank)
    return rows


def _rank(of: Mapping[str, Any], canvas: int, family: Family, measure: str) -> Rank | None:
    sides: dict[bool, dict[str, np.ndarray]] = {True: {}, False: {}}
    for function, values in of.items():
        exact, numbers = is_exact(function, family, measure), values[family].get(measure)
        if exact is not None and numbers is not None and None not in numbers:
            sides[exact][function] = np.maximum(np.asarray(numbers, float), floor(measure))
    if not sides[True] or not sides[False]:
        return None
    exact, other = (np.stack(list(sides[side].values())) for side in (True, False))
    groups = range(exact.shape[1])
    return Rank(
        canvas,
        family,
        measure,
        over_groups([auc(exact[:, group], other[:, group]) for group in groups]),
        over_groups([margin(exact[:, group], other[:, group]) for group in groups]),
        len(exact),
        len(other),
        max(sides[True], key=lambda name: sides[True][name].mean()),
        min(sides[False], key=lambda name: sides[False][name].mean()),
    )


def over_groups(values: Sequence[float]) -> Interval:
    """The mean and its interval over groups of images."""
    return over_seeds(values)._replace(over="images")


def has_generator(family: Family) -> bool:
    """Whether small steps lead to the family's members, so that it has a Lie derivative."""
    return FAMILIES[family].generator is not None
