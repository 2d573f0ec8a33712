"""What a sweep would take, told by a dry run: parameters, steps, memory, files, and time from steps that were timed."""

import math
import time
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import analysis, dry_run, models
from cnnjax.data import Dataset, StoredImages
from cnnjax.runs import Progress
from cnnjax.runs.progress import humanize
from cnnjax.runs.table import print_table
from cnnjax.runtime import evaluation_batch
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.protocol import Task
from cnnjax.sweep.traced import cost_of
from cnnjax.training import (
    CHUNK,
    Epoch,
    Settings,
    init_states,
    program_key,
    steps_memory,
    timed_steps,
    unstack,
    with_recipe,
)

_TIMED = 2
"""Steps that are timed of each program, after one that is not."""


class Rehearsed(NamedTuple):
    """What was found of a program that trains the networks of a cell."""

    parameters: int
    multiply_adds: int
    """For one image."""
    state: int
    """Bytes of all networks' parameters, statistics and optimiser."""
    optimizer: int
    """Bytes of the optimiser's part."""
    activations: int
    """Bytes that the compiled step needs besides on each device: activations, gradients, a batch; 0 where the backend
    does not say."""
    seconds: float
    """Of a step of all networks."""
    classifying: float
    """Seconds for an image that one network is shown after its training."""


def rehearse(
    plans: Sequence[CellPlan],
    dataset: Dataset,
    seeds: Sequence[int],
    *,
    tasks: Mapping[str, Task] | None = None,
    progress: Progress,
) -> None:
    """In a dry run, tell what training and measuring the cells would take, and end it; otherwise do nothing.

    A few steps of each program are run on this machine, with the cell's own networks, images and augmentation.
    """
    if dry_run.folder() is None:
        return
    found: dict[Hashable, Rehearsed] = {}
    rows, seconds, steps, files, classified, inference = [], 0.0, 0, 0, 0, 0.0
    for plan in plans:
        own, mine = plan.of(dataset), plan.seeds or seeds
        count = len(own.train.images)
        key = program_key(plan.spec, plan.train, plan.augmentation.as_arrays(), count), len(mine)
        if key not in found:
            progress.note(f"timing {_TIMED} steps of {plan.name}")
            found[key] = _rehearsed(plan, own, mine)
        one, total = found[key], plan.train.total_steps(count)
        per_epoch = plan.train.steps_per_epoch(count)
        saves = plan.train.passes(count) * math.ceil(per_epoch / CHUNK)
        rows.append(
            {
                "cell": plan.name,
                "networks": len(mine),
                "parameters": f"{one.parameters:,}",
                "million multiply-adds": one.multiply_adds / 1e6,
                "steps": f"{total:,}",
                "checkpoints": saves,
                "of MB": one.state / 1e6,
                "optimizer MB": one.optimizer / 1e6,
                "activations MB": one.activations / 1e6 if one.activations else None,
                "ms a step": one.seconds * 1e3,
                "training": humanize(total * one.seconds),
            }
        )
        seconds, steps = seconds + total * one.seconds, steps + total * len(mine)
        files += one.state - one.optimizer
        images = _classified(tasks or {}, plan, own) * len(mine)
        classified += images
        inference += images * one.classifying
    arrays, networks = [dataset.train.images, dataset.test.images], sum(row["networks"] for row in rows)
    print_table(
        rows,
        title="What would be trained",
        caption=f"Multiply-adds are of one image. A checkpoint, the optimizer's state and the activations are those of "
        f"all networks of a cell, which train side by side; a step is one of all of them, the mean of {_TIMED} on this "
        "machine.",
    )
    lines = (
        f"{_many(len(plans), 'cell')}, {_many(networks, 'network')}, {steps:,} steps of one.",
        f"Reads {len(arrays[0]):,} images to train and {len(arrays[1]):,} to test, decoded "
        f"{sum(math.prod(array.shape) for array in arrays) / 1e6:,.0f} MB"
        f"{', which stay in memory' if isinstance(arrays[0], np.ndarray) else ' in each epoch'}.",
        f"Keeps {files / 1e6:,.1f} MB of weights, and while a cell trains its checkpoint.",
        f"Trains for about {humanize(seconds)} and classifies {classified:,} images in about {humanize(inference)}: "
        f"{humanize(seconds + inference)} in all, besides compiling and what else the experiment measures.",
    )
    print("\n".join(lines))
    raise dry_run.Told


def _rehearsed(plan: CellPlan, dataset: Dataset, seeds: Sequence[int]) -> Rehearsed:
    count = len(dataset.train.images)
    few = min(count, (_TIMED + 1) * plan.train.batch_size)
    images, labels = np.asarray(dataset.train.images[:few]), dataset.train.labels[:few]
    cost = cost_of(plan.model, images.shape[1:])
    states = init_states(plan.spec, seeds, images.shape[1:])
    orders = jnp.broadcast_to(jnp.arange(few), (len(seeds), few))
    arguments: Any = (
        jnp.stack([jax.random.key(seed) for seed in seeds]),
        Epoch(orders, jnp.asarray(images), jnp.asarray(labels, jnp.int32)),
        Settings(plan.train.hyper(count), plan.augmentation.as_arrays()),
    )
    state, optimizer = _bytes(states), _bytes(states.opt_state)
    # Streamed networks come one after the other: see `train_together`.
    side_by_side = 1 if isinstance(dataset.train.images, StoredImages) else len(seeds)
    spec = with_recipe(plan.spec, plan.train, side_by_side)
    memory = steps_memory(spec, states, *arguments)
    classifying = _classifying(plan, dataset, unstack(states.variables, len(seeds))[0])
    seconds = timed_steps(spec, states, _TIMED, *arguments)
    return Rehearsed(cost.parameters, cost.multiply_adds, state, optimizer, memory, seconds, classifying)


def _classifying(plan: CellPlan, dataset: Dataset, variables: Any) -> float:
    """Seconds for an image, in batches as large as those of the measurements."""
    size = evaluation_batch(math.prod(dataset.test.images.shape[1:3]))
    some = np.asarray(dataset.test.images[:size])
    images = np.resize(some, (size, *some.shape[1:]))
    forward = models.bind(plan.model, variables)
    analysis.classify_all(forward, images)
    began = time.perf_counter()
    analysis.classify_all(forward, images)
    return (time.perf_counter() - began) / size


def _classified(tasks: Mapping[str, Task], plan: CellPlan, dataset: Dataset) -> int:
    """Images that a network of the cell is shown after its training."""
    moved = [task for task in tasks.values() if task.fits(plan.model) and task.like not in tasks]
    shown = sum((len(task.orbit.parameters) + 1) * len(task.examples) for task in moved)
    return shown + len(dataset.test.images)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count > 1)}"


def _bytes(tree: Any) -> int:
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
