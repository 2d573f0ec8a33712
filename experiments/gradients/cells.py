"""The cells of the gradients experiment: networks drawn, trained or not, and measured layer by layer, once each."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from cnnjax.data import Dataset, epoch_order
from cnnjax.runs import Progress, RunDirectory
from cnnjax.runs.folder import Folder
from cnnjax.sweep.cell import STATE
from cnnjax.training import (
    StepSpec,
    TrainConfig,
    check_steps,
    init_states,
    run_steps,
    unstack,
)
from experiments.gradients.redraw import Initialization, redrawn
from experiments.shared.learning_signal import Measured, Networks, measure_networks, measured_file, read_measured

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

    A cell keeps a file for each step that it was measured at and, while it trains, `state.safetensors`. Each is written
    whole, so a run killed at any instant goes on from the last that is there.
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
        if folder.has(measured_file(steps[-1])):
            folder.remove(STATE)  # which a kill may have left
            progress.skip(plan.name)
        else:
            progress.cell(plan.name)
            _measure_cell(run, plan, folder, steps, dataset, batch, progress, compiled)
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
    train = plan.train or TrainConfig()
    spec = StepSpec(plan.model, train.optimizer, train.batch_size, _unchanged)
    seeds, n = range(plan.seeds), len(dataset.train.images)
    states = init_states(spec, seeds, dataset.train.images.shape[1:])
    states = dataclasses.replace(states, variables=redrawn(states.variables, plan.initialization, seeds))
    if folder.has(STATE):
        states = folder.load(STATE, states)
        check_steps(states, folder.path / STATE, last=steps[-1])
    keys = {use: jnp.stack([jax.random.fold_in(jax.random.key(s), i) for s in seeds]) for i, use in enumerate(USES, 1)}
    on_device = jnp.asarray(dataset.train.images), jnp.asarray(dataset.train.labels, jnp.int32)
    for number, step in enumerate(steps):
        if int(states.step[0]) > step:
            continue
        if int(states.step[0]) < step:
            if number == 1:
                progress.status("compiling the training step")
            orders = jax.vmap(lambda key, epoch=number - 1: epoch_order(key, epoch, n))(keys["order"])
            count = step - steps[number - 1]
            states, _ = run_steps(spec, states, count, keys["step"], orders, *on_device, train.hyper(n), None)
            folder.save(STATE, states)
        if plan.model not in compiled:
            progress.status("compiling the gradient")
            compiled.add(plan.model)
        _measure(run, plan, folder, step, unstack(states.variables, plan.seeds), batch, progress)
        progress.advance(number + 1, len(steps), f"{step} steps")
    folder.remove(STATE)


USES = ("order", "step")
"""What keys are drawn for beside the initialisation; each use has its own."""


def _measure(
    run: RunDirectory,
    plan: GradientPlan,
    folder: Folder,
    step: int,
    networks: list[PyTree],
    batch: tuple[Array, Array],
    progress: Progress,
) -> None:
    def note(seed: int, error: str) -> None:
        progress.note(f"  seed {seed} at step {step}: {error}")

    arrays, names = measure_networks(plan.model, networks, batch, note=note)
    for seed, loss in enumerate(arrays["loss"]):
        run.log(cell=plan.name, seed=seed, step=step, loss=float(loss))
    folder.save(measured_file(step), arrays, **names)


def _steps(plan: GradientPlan, images: int) -> list[int]:
    """The steps at which a cell is measured: the start and the end of each epoch."""
    if plan.train is None:
        return [0]
    return [epoch * plan.train.steps_per_epoch(images) for epoch in range(plan.train.passes(images) + 1)]


def _unchanged(key: Array, images: Array, strengths: None) -> Array:
    return images
