"""The cells of the gradients experiment: networks drawn, trained or not, and measured layer by layer, once each."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from cnnjax import analysis
from cnnjax.data import Dataset, epoch_order
from cnnjax.study import Progress, RunDirectory
from cnnjax.training import (
    StepSpec,
    TrainConfig,
    check_steps,
    init_states,
    run_steps,
    unstack,
)
from experiments.common.cell import STATE
from experiments.common.kept import Folder, folder_of
from experiments.parts.gradients.redraw import Initialization, redrawn

Question = Literal["start", "training", "activations"]


@dataclasses.dataclass(frozen=True)
class GradientPlan:
    """One cell: which network to draw how often, and how to train it."""

    name: str
    question: Question
    settings: dict[str, Any]
    model: nn.Module
    initialization: Initialization
    seeds: int
    train: TrainConfig | None
    """None: it is measured at the start alone."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """The learning signal of a cell's networks at some steps; NaN where the loss is not finite.

    `loss` is (steps, seeds); the others are (steps, seeds, layers), of maps or of convolutions in forward order.
    """

    steps: list[int]
    maps: list[str]
    kernels: list[str]
    loss: np.ndarray
    map_rms: np.ndarray
    """Root mean square over units and images."""
    map_gradient: np.ndarray
    """Norm of the gradient at a map, over units and images."""
    kernel_gradient: np.ndarray
    """Root mean square of the gradient over a convolution's weights."""


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
        folder = folder_of(run, plan.name)
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


def measure_networks(
    model: nn.Module,
    networks: Sequence[PyTree],
    batch: tuple[Array, Array],
    *,
    note: Callable[[int, str], None],
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """The arrays of `Measured` at one step, with a leading seed axis, and the names of maps and kernels.

    `note` is given the seed of a network whose loss is not finite, and what is not.
    """
    flows: list[analysis.GradientFlow | None] = []
    for seed, variables in enumerate(networks):
        rest = {name: value for name, value in variables.items() if name != "params"}
        try:
            flow = analysis.gradient_flow(Partial(_loss(model), rest), variables["params"], batch)
        except analysis.NotFiniteError as error:
            flow = None
            note(seed, str(error))
        flows.append(flow)
    known = next((flow for flow in flows if flow), None)
    # Maps, of which pooled features and logits are none, and the kernels of convolutions.
    maps = [name for name in known.activations if name.startswith(("conv", "stage"))] if known else []
    kernels = [name for name in known.parameters if name.endswith("kernel") and "logits" not in name] if known else []

    def each(value: Callable[[analysis.GradientFlow], Any], count: int) -> np.ndarray:
        return np.asarray([value(flow) if flow else [np.nan] * count for flow in flows], np.float64)

    arrays = {
        "loss": each(lambda flow: [flow.loss], 1)[:, 0],
        "map_rms": each(lambda flow: [flow.activations[name].rms for name in maps], len(maps)),
        "map_gradient": each(lambda flow: [flow.activations[name].gradient_norm for name in maps], len(maps)),
        "kernel_gradient": each(lambda flow: [flow.parameters[name].gradient_rms for name in kernels], len(kernels)),
    }
    return arrays, {"maps": maps, "kernels": kernels}


def _steps(plan: GradientPlan, images: int) -> list[int]:
    """The steps at which a cell is measured: the start and the end of each epoch."""
    if plan.train is None:
        return [0]
    return [epoch * plan.train.steps_per_epoch(images) for epoch in range(plan.train.passes(images) + 1)]


def measured_file(step: int) -> str:
    """The file in which a cell keeps what `measure_networks` measured at a step."""
    return f"gradients-{step:06}.safetensors"


def read_measured(folder: Folder, steps: list[int]) -> Measured:
    """What a cell's files of these steps hold, together."""
    files = [folder.described(measured_file(step)) for step in steps]
    first, about = files[0]

    def part(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        # Where no seed was finite, no layer has a name: it is NaN in all of them.
        return arrays[name] if arrays[name].shape == first[name].shape else np.full_like(first[name], np.nan)

    arrays = {name: np.stack([part(found, name) for found, _ in files]) for name in first}
    return Measured(steps, about["maps"], about["kernels"], **arrays)


@functools.lru_cache(maxsize=64)
def _loss(model: nn.Module) -> Callable[[PyTree, PyTree, tuple[Array, Array]], tuple[Array, dict[str, Array]]]:
    """The loss of a training step and the activations; one function for each network, to be compiled once."""

    def loss(rest: PyTree, params: PyTree, batch: tuple[Array, Array]) -> tuple[Array, dict[str, Array]]:
        images, labels = batch
        (logits, activations), _ = model.apply({"params": params, **rest}, images, train=True, mutable=list(rest))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), activations

    return loss


def _unchanged(key: Array, images: Array, strengths: None) -> Array:
    return images
