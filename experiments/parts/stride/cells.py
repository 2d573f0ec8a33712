"""Cells of the stride experiment once trained: the change of their scores under a shift, split by its cause."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from cnnjax import analysis
from cnnjax.data import Dataset
from cnnjax.study import Progress, RunDirectory
from cnnjax.training import read_arrays, save_tree
from experiments.common.cell import WEIGHTS, CellPlan, read_networks

TERMS = ("total", "aliasing", "border", "content")
"""Fields of `analysis.ShiftTerms`."""


@dataclasses.dataclass(frozen=True)
class StridePlan:
    """One cell, and what distinguishes it from others."""

    cell: CellPlan
    downsample: str
    padding: str
    augmentation: str


def measure_terms(
    run: RunDirectory,
    plans: Sequence[StridePlan],
    dataset: Dataset,
    *,
    shift: tuple[int, int],
    images: int,
    seeds: int,
    progress: Progress,
) -> dict[str, dict[str, np.ndarray]]:
    """`analysis.shift_terms` of the scores of every trained cell, `(seeds,)` by name of cell and term.

    Images come from the test set, the first `images` of it. Cells with "valid" padding have none: a map that does not
    reach round the image cannot be shifted round. A cell keeps a file, written whole.
    """
    pixels = jnp.asarray(dataset.test.images[:images], jnp.float32) / 255
    found = {}
    for plan in plans:
        cell, folder = plan.cell, run.cell(plan.cell.name)
        title, path = f"{cell.name}: terms", folder / "terms.safetensors"
        if plan.padding == "valid":
            progress.skip(f"{title}, of which valid padding has none")
            continue
        if path.exists():
            progress.skip(title)
        else:
            progress.cell(title)
            rows = []
            for seed, variables in enumerate(read_networks(cell, folder / WEIGHTS, dataset, range(seeds))):
                of = Partial(_scores_and_map(cell.model), variables)
                rows.append(analysis.shift_terms(of, pixels, analysis.Shift(shift, fill="zero"))["logits"])
                progress.advance(seed + 1, seeds)
            save_tree(path, {term: np.asarray([getattr(row, term) for row in rows]) for term in TERMS})
        found[cell.name] = dict(read_arrays(path)[0])
    return found


@functools.lru_cache(maxsize=64)
def _scores_and_map(model: nn.Module) -> Callable[[PyTree, Array], dict[str, Array]]:
    """The logits and the last map, whose stride tells which shifts are whole; one function for each network."""

    def scores_and_map(variables: PyTree, images: Array) -> dict[str, Array]:
        found: Any = model.apply(variables, images)
        logits, activations = found
        *_, last = (a for a in activations.values() if jnp.ndim(a) == 4)
        return {"map": last, "logits": logits}

    return scores_and_map
