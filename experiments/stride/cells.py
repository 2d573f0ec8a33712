"""Cells of the stride experiment once trained: the change of their scores under a shift, split by its cause."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array

from cnnjax import analysis, models
from cnnjax.data import Dataset
from cnnjax.errors import InputError
from cnnjax.runs import Progress
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Sweep
from cnnjax.sweep.traced import activations_of, shapes_of

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
    of: Sweep, *, shift: tuple[int, int], images: int, progress: Progress
) -> dict[str, dict[str, np.ndarray]]:
    """`analysis.shift_terms` of the scores of every trained cell, `(seeds,)` by name of cell and term.

    Images come from the test set, the first `images` of it. A cell has none whose last map does not reach round the
    image, as behind "valid" padding or strides that do not divide its size: it cannot be shifted round. A cell keeps a
    file, written whole.
    """
    dataset = of.dataset
    pixels = jnp.asarray(dataset.test.images[:images], jnp.float32) / 255
    moved = analysis.Shift(shift, fill="zero")
    found = {}
    for cell in (plan for plan in of.plans if plan.name in of.predictions):
        title = f"{cell.name}: terms"
        if reason := _why_none(cell.model, dataset, moved):
            progress.cell(title)
            progress.note(f"  none: {reason}")
            continue

        def measure(cell: CellPlan = cell) -> dict[str, np.ndarray]:
            rows = []
            for seed, variables in enumerate(of.networks(cell)):
                f = Partial(_scores_and_map, models.bind(cell.model, variables))
                rows.append(analysis.shift_terms(f, pixels, moved)["logits"])
                progress.advance(seed + 1, of.seeds)
            return {term: np.asarray([getattr(row, term) for row in rows]) for term in TERMS}

        found[cell.name] = of.run.once(cell.name, "terms.safetensors", measure, progress=progress, title=title)
    return found


def _why_none(model: nn.Module, dataset: Dataset, shift: analysis.Shift) -> str:
    """Why the scores of a network have no terms; empty where they have. Nothing is run."""
    images, variables = shapes_of(model, dataset.test.images.shape[1:])
    activations = activations_of(model, variables)
    try:
        analysis.check_shift_terms(lambda x: {"map": _last_map(activations(x))}, images, shift)
    except InputError as error:
        return str(error)
    return ""


def _scores_and_map(forward: Partial, images: Array) -> dict[str, Array]:
    """The logits and the last map, whose stride tells which shifts are whole."""
    logits, activations = forward(images)
    return {"map": _last_map(activations), "logits": logits}


def _last_map(activations: dict[str, Array]) -> Array:
    *_, last = (a for a in activations.values() if jnp.ndim(a) == 4)
    return last
