"""The cells of the gradients experiment: networks drawn, trained or not, and measured layer by layer, once each."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from cnnjax.data import Dataset
from cnnjax.runs import Progress, RunDirectory
from cnnjax.runs.folder import Folder
from cnnjax.training import (
    DivergedError,
    StepSpec,
    TrainConfig,
    Training,
    TrainState,
    init_states,
    stack,
    train_together,
    unstack,
)
from experiments.gradients.redraw import Initialization, redrawn
from experiments.shared.learning_signal import (
    Measured,
    Networks,
    measure_networks,
    measured_seeds,
    read_measured,
    save_measured,
)

Question = Literal["start", "training", "activations"]


@dataclasses.dataclass(frozen=True)
class GradientPlan(Networks):
    """One cell: which network to draw how often, and how to train it."""

    question: Question
    model: nn.Module
    initialization: Initialization
    train: TrainConfig | None
    """None: it is measured only at the start."""


def measure_all(
    run: RunDirectory, plans: Sequence[GradientPlan], dataset: Dataset, *, images: int, progress: Progress
) -> dict[str, Measured]:
    """Draw, train and measure every cell that is not finished, in order, and return what was measured by name.

    A cell keeps a file for each step that it was measured at and, until then, its networks on their way. Each file is
    written whole, so a run killed at any instant goes on from the last that is there, and one that has more seeds goes
    on with these.
    """
    compiled: set[nn.Module] = set()
    batch = (
        jnp.asarray(dataset.train.images[:images], jnp.float32) / 255,
        jnp.asarray(dataset.train.labels[:images], jnp.int32),
    )
    found = {}
    for plan in plans:
        folder = run.cell(plan.name)
        steps = _steps(plan, len(dataset.train.images))
        if measured_seeds(folder, steps[-1]) == len(plan.numbers):
            progress.skip(plan.name)
        else:
            progress.cell(plan.name)
            _measure_cell(run, plan, folder, steps, dataset, batch, progress, compiled)
        for file in folder.path.glob(_network_file("*")):  # a kill may have left them
            folder.remove(file.name)
        found[plan.name] = read_measured(folder, steps)
    return found


def _measure_cell(
    run: RunDirectory,
    plan: GradientPlan,
    folder: Folder,
    steps: list[int],
    dataset: Dataset,
    batch: tuple[Array, Array],
    progress: Progress,
    compiled: set[nn.Module],
) -> None:
    train, seeds = plan.train or TrainConfig(), plan.numbers[measured_seeds(folder, steps[-1]) :]
    spec = StepSpec(plan.model, train.optimizer, train.batch_size, _unchanged)
    start = init_states(spec, seeds, dataset.train.images.shape[1:])
    start = dataclasses.replace(start, variables=redrawn(start.variables, plan.initialization, seeds))
    # Each network is trained by itself, for one that diverges ends.
    starts = {seed: stack([one]) for seed, one in zip(seeds, unstack(start, len(seeds)), strict=True)}
    failures = _train(spec, plan.train, starts, folder, steps, dataset, progress) if plan.train else {}
    for number, step in enumerate(steps):
        todo = plan.numbers[measured_seeds(folder, step) :]
        if not todo:
            continue
        if plan.model not in compiled:
            progress.status("compiling the gradient")
            compiled.add(plan.model)
        networks: dict[int, PyTree | None] = {}
        for seed in todo:
            file, found = _network_file(seed, step), starts[seed].variables
            if step:
                found = folder.load(file, found) if folder.has(file) else None
            if found is None:
                progress.note(f"  seed {seed} at step {step}: {failures[seed]}")
            networks[seed] = None if found is None else unstack(found, 1)[0]
        _measure(run, plan, folder, step, networks, batch, progress)
        progress.advance(number + 1, len(steps), f"{step} steps")


def _train(
    spec: StepSpec,
    train: TrainConfig,
    starts: Mapping[int, TrainState],
    folder: Folder,
    steps: list[int],
    dataset: Dataset,
    progress: Progress,
) -> dict[int, DivergedError | None]:
    """Train the network of each seed, keep it as it is after each epoch, and return why it failed, if it did."""
    trainings = [
        Training(
            train,
            None,
            [seed],
            start=start,
            checkpoint=folder.path / _network_file(seed, "state"),
            snapshots={epoch: folder.path / _network_file(seed, step) for epoch, step in enumerate(steps) if epoch},
            of=folder.of,
        )
        for seed, start in starts.items()
    ]
    progress.status("compiling the training step")
    found = train_together(spec, trainings, dataset.train.images, dataset.train.labels, progress=progress.advance)
    results = zip(starts, found, strict=True)
    return {seed: result if isinstance(result, DivergedError) else None for seed, result in results}


def _network_file(seed: int | str, when: int | str = "*") -> str:
    return f"network-{seed}-{when}.safetensors"


def _measure(
    run: RunDirectory,
    plan: GradientPlan,
    folder: Folder,
    step: int,
    networks: Mapping[int, PyTree | None],
    batch: tuple[Array, Array],
    progress: Progress,
) -> None:
    def note(seed: int, error: str) -> None:
        progress.note(f"  seed {seed} at step {step}: {error}")

    arrays, names = measure_networks(plan.model, networks, batch, note=note)
    for seed, loss in zip(networks, arrays["loss"], strict=True):
        run.log(cell=plan.name, seed=seed, step=step, loss=float(loss))
    save_measured(folder, step, arrays, names)


def _steps(plan: GradientPlan, images: int) -> list[int]:
    """The steps at which a cell is measured: the start and the end of each epoch."""
    if plan.train is None:
        return [0]
    return [epoch * plan.train.steps_per_epoch(images) for epoch in range(plan.train.passes(images) + 1)]


def _unchanged(key: Array, images: Array, strengths: None) -> Array:
    return images
