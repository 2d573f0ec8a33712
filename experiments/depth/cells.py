"""Cells of the depth experiment once trained: their errors on training images, and the learning signal on the way."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from cnnjax import analysis, models
from cnnjax.data import Dataset
from cnnjax.runs import Progress
from cnnjax.sweep.cell import CellPlan, snapshot
from cnnjax.sweep.cells import Sweep
from experiments.shared.learning_signal import Measured, measure_networks, measured_file, read_measured, save_measured

ANSWERS = "training_predictions.safetensors"


@dataclasses.dataclass(frozen=True)
class DepthPlan:
    """One cell: how to train which network. The cell's snapshots are where the learning signal is measured."""

    cell: CellPlan
    network: Literal["plain", "residual"]
    depth: int


@dataclasses.dataclass(frozen=True)
class DepthResult:
    """What was measured of a cell's trained networks."""

    training_error: np.ndarray
    """`(seeds,)`: the share of training images, as they are, that a trained network gets wrong."""
    signal: Measured


def measure_depth(of: Sweep, *, images: int, progress: Progress) -> dict[str, DepthResult]:
    """Measure every trained cell that is not measured yet, and return what is known by name.

    The gradient is that of the first `images` training images, as in a training step. A cell keeps a file for each
    measurement, written whole.
    """
    run, dataset = of.run, of.dataset
    batch = (
        jnp.asarray(dataset.train.images[:images], jnp.float32) / 255,
        jnp.asarray(dataset.train.labels[:images], jnp.int32),
    )
    found = {}
    for cell in (plan for plan in of.plans if plan.name in of.predictions):
        title = f"{cell.name}: learning signal"
        per_epoch = cell.train.steps_per_epoch(len(dataset.train.array))
        measure = functools.partial(_measure, of, cell, per_epoch, batch, progress)
        answers = run.once(cell.name, ANSWERS, measure, progress=progress, title=title)["classes"]
        signal = read_measured(run.cell(cell.name), [epoch * per_epoch for epoch in cell.snapshots])
        found[cell.name] = DepthResult((answers != dataset.train.labels).mean(1), signal)
    return found


def _measure(
    of: Sweep, cell: CellPlan, per_epoch: int, batch: tuple[Array, Array], progress: Progress
) -> dict[str, np.ndarray]:
    """Keep the learning signal at every snapshot, and return the answers of the last to the training images."""
    folder, networks = of.run.cell(cell.name), []
    for number, epoch in enumerate(cell.snapshots):
        networks = of.networks(cell, snapshot(epoch))
        if not folder.has(measured_file(epoch * per_epoch)):
            arrays, names = measure_networks(
                cell.model,
                dict(zip(of.numbers, networks, strict=True)),
                batch,
                note=lambda seed, error, epoch=epoch: progress.note(f"  seed {seed}, epoch {epoch}: {error}"),
            )
            save_measured(folder, epoch * per_epoch, arrays, names)
        progress.advance(number + 1, len(cell.snapshots) + 1, f"epoch {epoch}")
    return {"classes": _classes(cell, networks, of.dataset)}


def _classes(cell: CellPlan, networks: Sequence[PyTree], dataset: Dataset) -> np.ndarray:
    each = [analysis.classify_all(models.bind(cell.model, variables), dataset.train.array) for variables in networks]
    return np.stack(each).astype(np.uint16)
