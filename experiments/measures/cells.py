"""What every measure says of one function on one canvas, family by family and group of images by group."""

import functools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from cnnjax import analysis
from cnnjax.errors import InputError
from cnnjax.runs import Progress
from experiments.measures import images as pictures
from experiments.measures import readout
from experiments.measures.families import FAMILIES, Family, orbit, stacked
from experiments.measures.functions import FUNCTIONS

TRAINING = 40
"""Images of each class that a readout is fitted to."""

Values = dict[str, dict[str, list[float | None]]]
"""By family and measure: a number for each group of images, None where there is none."""


@functools.lru_cache(maxsize=4)
def _drawn(side: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, dict[Family, np.ndarray]]:
    images, labels = pictures.draw(count, side, seed=seed, part=1)
    return images, labels, stacked(images)


def measure(
    function: str, side: int, families: Sequence[Family], groups: int, count: int, seed: int, progress: Progress
) -> Values:
    """Every measure of one function; `count` images in so many groups, which are measured apart."""
    f = FUNCTIONS[function].bound(seed, side)
    images, labels, moved = _drawn(side, count, seed)
    standard, logits = readout.fitted(
        f, *pictures.draw(TRAINING * pictures.CLASSES, side, seed=seed, part=0), pictures.CLASSES
    )
    parts = [slice(start, start + count // groups) for start in range(0, count, count // groups)]
    found: Values = {}
    lie: dict[str, dict[str, list[float | None]]] = {}
    for done, family in enumerate(families):
        progress.advance(done, len(families), family)
        generator = FAMILIES[family].generator
        if generator is not None and generator not in lie:
            lie[generator] = _over(functools.partial(_lie, f, generator), images, parts)
        found[family] = {
            **(lie[generator] if generator is not None else {}),
            **_over(functools.partial(_finite, f, family), images, parts),
            **_over(functools.partial(_variance, standard, family), moved[family], parts),
            **_answers(logits, moved[family], labels, family, parts),
        }
    return found


def _over(
    measure: Callable[[np.ndarray], dict[str, float]], images: np.ndarray, parts: Sequence[slice]
) -> dict[str, list[float | None]]:
    """What is measured of each group of images, by name."""
    rows = [measure(images[part]) for part in parts]
    return {name: [row[name] if math.isfinite(row[name]) else None for row in rows] for name in rows[0]}


def _lie(f: Partial, generator: str, x: np.ndarray) -> dict[str, float]:
    error = analysis.local_equivariance_error(f, x, generator)
    published = analysis.local_equivariance_error(f, x, generator, resampler="linear", fill="reflect")
    try:
        own = analysis.lie_terms(f, x, generator).function
    except InputError:  # a function of one size has no larger canvas
        own = math.nan
    return {
        "LEE": published.lee,
        "Lie": error.relative,
        "Lie, function": own,
        "at border": error.at_border,
        "variation": error.variation,
    }


def _finite(f: Partial, family: Family, x: np.ndarray) -> dict[str, float]:
    member = FAMILIES[family].members[0]
    before, after = (np.asarray(f(jnp.asarray(a))) for a in (x, member(jnp.asarray(x))))
    others = after[np.random.default_rng(0).permutation(len(after))]
    alike = [float(analysis.cka(before, a, unbiased=True)) for a in (after, others)]
    return {
        "error": float(analysis.equivariance_error(f, x, member)),
        "linear map": float(analysis.fitted_map_error(f, x, member)),
        "orthogonal map": float(analysis.fitted_map_error(f, x, member, kind="orthogonal")),
        "1 − CKA": 1 - alike[0],
        "1 − CKA, shuffled": 1 - alike[1],
    }


def _variance(standard: Partial, family: Family, slots: np.ndarray) -> dict[str, float]:
    return {"variance": analysis.normalized_variance(standard, slots, orbit(family)).mean}


def _answers(
    logits: Partial, slots: np.ndarray, labels: np.ndarray, family: Family, parts: Sequence[slice]
) -> dict[str, list[float | None]]:
    columns = analysis.image_columns(analysis.predict(logits, slots, orbit(family)), labels, orbit(family))
    means = {name: np.array([values[part].mean() for part in parts]) for name, values in columns.items()}
    scores = analysis.scores(means)
    return {
        "1 − consistency": (1 - scores["consistency"]).tolist(),
        "1 − adjusted": (1 - scores["adjusted_consistency"]).tolist(),
        "accuracy drop": (scores["accuracy"] - scores["mean_accuracy"]).tolist(),
        "accuracy": scores["accuracy"].tolist(),
    }
