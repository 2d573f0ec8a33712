"""Cells of the depth experiment once trained: their errors on training images, and the learning signal on the way."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from cnnjax import analysis
from cnnjax.data import Dataset
from cnnjax.runs import Progress, RunDirectory
from cnnjax.sweep.cell import CellPlan, read_networks, snapshot
from cnnjax.sweep.kept import folder_of
from cnnjax.sweep.protocol import classifier
from experiments.shared.learning_signal import Measured, measure_networks, measured_file, read_measured

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


def measure_depth(
    run: RunDirectory, plans: Sequence[DepthPlan], dataset: Dataset, *, images: int, seeds: int, progress: Progress
) -> dict[str, DepthResult]:
    """Measure every cell that `sweep` has trained and that is not measured yet, and return what is known by name.

    The gradient is that of the first `images` training images, as in a training step. A cell keeps a file for each
    measurement, written whole.
    """
    batch = (
        jnp.asarray(dataset.train.images[:images], jnp.float32) / 255,
        jnp.asarray(dataset.train.labels[:images], jnp.int32),
    )
    found = {}
    for plan in plans:
        cell, folder = plan.cell, folder_of(run, plan.cell.name)
        per_epoch = cell.train.steps_per_epoch(len(dataset.train.images))
        title = f"{cell.name}: learning signal"
        if folder.has(ANSWERS):
            progress.skip(title)
        else:
            progress.cell(title)
            for number, epoch in enumerate(cell.snapshots):
                networks = read_networks(cell, folder, snapshot(epoch), dataset, range(seeds))
                file = measured_file(epoch * per_epoch)
                if not folder.has(file):
                    arrays, names = measure_networks(
                        cell.model,
                        networks,
                        batch,
                        note=lambda seed, error, epoch=epoch: progress.note(f"  seed {seed}, epoch {epoch}: {error}"),
                    )
                    folder.save(file, arrays, **names)
                progress.advance(number + 1, len(cell.snapshots) + 1, f"epoch {epoch}")
                if epoch == cell.snapshots[-1]:
                    folder.save(ANSWERS, {"classes": _classes(cell, networks, dataset)})
        signal = read_measured(folder, [epoch * per_epoch for epoch in cell.snapshots])
        wrong = folder.arrays(ANSWERS)["classes"] != dataset.train.labels
        found[cell.name] = DepthResult(wrong.mean(1), signal)
    return found


def _classes(cell: CellPlan, networks: Sequence[PyTree], dataset: Dataset) -> np.ndarray:
    each = [analysis.classify_all(classifier(cell.model, variables), dataset.train.images) for variables in networks]
    return np.stack(each).astype(np.uint16)
