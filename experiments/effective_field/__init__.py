"""How does the effective receptive field grow with depth, and what does training do to it?

The receptive field of n convolutions grows as n, but most of what it holds has hardly any effect: the effective field
grows as √n (Luo et al. 2016). Two measurements of it:

1. Stacks of n convolutions, with equal weights, random weights, and random weights with ReLU: the standard deviation σ
   of the middle unit's derivative against the theory, √(n (k² - 1) / 12), and its share 4σ / r of the receptive field.
2. A small network, at each stage, before and after training, over test images: the radius of the disc that holds 95 %
   of the absolute derivative.

    python -m experiments.effective_field
    python -m experiments.effective_field --network.name all_conv --network.depth 3

Expected: with equal weights the theory to the last digit, 4σ / r = .664 at n = 5 and .255 at n = 40; with random
weights it is the mean square of the derivative that follows the theory, the absolute value spreads up to √2 as far. Luo
et al. saw training widen the field, on CIFAR-10 and on street scenes; on these digits it makes it about a tenth
narrower.

The same command goes on where a killed one was. The run directory holds every map, the summary and the figures.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from cnnjax import analysis, models, runtime
from cnnjax.data import Augmentation, DataConfig, Dataset
from cnnjax.errors import InputError
from cnnjax.networks.calls import evaluation
from cnnjax.runs import Progress, RunDirectory, grid, open_run
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import check_same_data, trained
from cnnjax.sweep.images import load_images
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.ranges import check_named, check_ranges
from cnnjax.sweep.rehearsal import rehearse
from cnnjax.sweep.seeds import Seeds
from cnnjax.sweep.traced import activations_of, shapes_of
from cnnjax.training import StepSpec, TrainConfig, init_states, unstack
from experiments.effective_field import report
from experiments.effective_field import stacks as effective_stacks
from experiments.effective_field.stacks import Stack, Weights

TAKES = "two minutes on two cores"

GROWS = ("seeds", "weights", "layers")
"""Options of which a run may get more: it keeps what stands."""

TRAINING = "training"
FIELDS = "fields.safetensors"


@dataclasses.dataclass(frozen=True)
class Config(Seeds):
    """Options of the effective field experiment."""

    weights: tuple[Weights, ...] = ("equal", "random", "random_relu")
    """Weights of the stacks."""
    layers: tuple[int, ...] = (5, 10, 20, 40)
    """Numbers of layers of the stacks, n."""
    kernel_size: int = 3
    """Side of the stacks' windows, k; odd."""
    channels: int = 8
    """Channels of the stacks with random weights."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    network: NetworkConfig = dataclasses.field(
        default_factory=lambda: NetworkConfig.of("resnet", widths=(8, 16, 32), depth=2)
    )
    train: TrainConfig = dataclasses.field(default_factory=lambda: TrainConfig(epochs=6))
    images: int = 64
    """Test images over which the trained network's derivatives are averaged."""
    seeds: int = 5
    """Draws of each stack and trainings of the network."""
    out: Path | None = None
    """The run directory (by default runs/effective_field/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Measure every stack and the network, print tables, write summary and figures, and return the run directory."""
    _check(config)
    runtime.configure()
    base = Stack(kernel_size=config.kernel_size, channels=config.channels)
    cells = grid(base, {"weights": config.weights, "layers": config.layers})
    with open_run("effective_field", config, out=config.out, grows=GROWS) as directory:
        with Progress(len(cells) + 1) as progress:
            dataset = load_images(config.data, progress)
            if config.images > (count := len(dataset.test.images)):
                raise InputError(f"images={config.images} of {count} test images: give fewer")
            config.train.steps_per_epoch(len(dataset.train.images))
            model = build(config.network, dataset)
            fields = stage_fields(model, dataset)
            plan = CellPlan(TRAINING, model, config.train, Augmentation())
            rehearse([plan], dataset, config.numbers, progress=progress)
            check_same_data(directory, dataset)
            stacks = {}
            for cell in cells:
                # Equal weights are not drawn.
                seeds = config.numbers[:1] if cell.config.weights == "equal" else config.numbers
                measure = functools.partial(_stack_fields, cell.config, progress=progress)
                maps = directory.once(cell.name, FIELDS, measure, progress=progress, seeds=seeds)["maps"]
                stacks[cell.name] = cell.config, maps
            measure = functools.partial(_trained_fields, directory, config, dataset, plan, list(fields), progress)
            network = directory.once(TRAINING, FIELDS, measure, progress=progress, seeds=config.numbers)
        report.write(directory, stacks, fields, network, dataset, images=config.images, first_seed=config.first_seed)
        return directory.path


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "weights", "layers")
    if config.kernel_size < 3 or config.kernel_size % 2 == 0:
        raise InputError(f"kernel_size={config.kernel_size} must be odd, 3 or more")


def stage_fields(model: nn.Module, dataset: Dataset) -> dict[str, analysis.ReceptiveField]:
    """The receptive field of the last map of each stage, by layer; raises InputError for a network without stages."""
    images, variables = shapes_of(model, dataset.train.images.shape[1:])
    fields = analysis.receptive_field(activations_of(model, variables), images)
    last: dict[str, str] = {}
    for name in analysis.cost(evaluation(model), images, variables).layers:
        if stage := re.match(r"stage\d+", name):
            last[stage[0]] = name
    if not last:  # a network of the user's own has other names
        last = {name: name for name, field in fields.items() if math.prod(field.units) > 1}
    if not last:
        raise InputError("this network has no maps, and so no effective fields: choose network.name all_conv or resnet")
    return {name: fields[name] for name in last.values()}


def _stack_fields(stack: Stack, seeds: Sequence[int], *, progress: Progress) -> dict[str, np.ndarray]:
    """The effective fields of a stack for each draw of its weights."""
    maps = []
    for seed in seeds:
        maps.append(effective_stacks.measure(stack, seed))
        progress.advance(len(maps), len(seeds))
    return {"maps": np.stack(maps)}


def _trained_fields(
    run: RunDirectory,
    config: Config,
    dataset: Dataset,
    plan: CellPlan,
    layers: Sequence[str],
    progress: Progress,
    seeds: Sequence[int],
) -> dict[str, np.ndarray]:
    """Effective fields (seeds, height, width) by "before/LAYER" and "after/LAYER", and accuracies (seeds,).

    These are "accuracy", of test images, and "training", of the images that the networks learned from.
    """
    model = plan.model
    after = trained(run, plan, dataset, config.numbers, progress)[-len(seeds) :]
    # The same draws that the training began with.
    spec = StepSpec(model, config.train.optimizer, config.train.batch_size, lambda key, images, strengths: images)
    before = unstack(init_states(spec, seeds, dataset.train.images.shape[1:]).variables, len(seeds))
    images = jnp.asarray(dataset.test.images[: config.images], jnp.float32) / 255
    arrays = {}
    for name, split in (("accuracy", dataset.test), ("training", dataset.train)):
        classes = [analysis.classify_all(models.bind(model, variables), split.array) for variables in after]
        arrays[name] = np.mean(np.stack(classes) == split.labels, axis=1)
    todo = [(when, networks, layer) for when, networks in (("before", before), ("after", after)) for layer in layers]
    for done, (when, networks, layer) in enumerate(todo):
        progress.advance(done, len(todo), f"effective field of {layer}, {when} training")
        arrays[f"{when}/{layer}"] = np.stack([_field(model, variables, images, layer) for variables in networks])
    return arrays


def _field(model: nn.Module, variables: Any, images: jax.Array, layer: str) -> Float[np.ndarray, "rows columns"]:
    return analysis.effective_receptive_field(models.bind(model, variables), images, layer).map
