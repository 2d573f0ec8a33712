"""Training of several seeds from the first step, or from wherever a checkpoint left it, to the last."""

import dataclasses
import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree, UInt8

from cnnjax import processes
from cnnjax.data import epoch_order
from cnnjax.door import checked
from cnnjax.door.limits import Positive
from cnnjax.door.scalars import check_keywords
from cnnjax.errors import InputError
from cnnjax.reporting import Report, silent
from cnnjax.training.checkpoint import load_tree, save_tree
from cnnjax.training.config import Settings, TrainConfig
from cnnjax.training.devices import choose_placement, gathered, place
from cnnjax.training.execution import run_steps, stack, unstack
from cnnjax.training.step import Epoch, StepSpec, TrainState, init_state

CHUNK = 200
"""Steps between two checkpoints at most: what a killed training loses."""


class DivergedError(ArithmeticError):
    """The loss of a seed is infinite or not a number."""


@checked()
@dataclasses.dataclass(frozen=True)
class Training:
    """One of the trainings in a program: its settings, its seeds, and its files."""

    config: TrainConfig
    strengths: PyTree
    """Arrays for the augmentation of the step."""
    seeds: Sequence[int]
    """One network is trained for each. A seed fixes the initialisation, every epoch's order and the augmentation."""
    start: TrainState | None = None
    """The states to begin with, with a leading axis of seeds; None: as `init_states` draws them."""
    checkpoint: Path | None = None
    """Where the state is kept after at most 200 steps; a training that finds it goes on to the same result."""
    snapshots: Mapping[int, Path] = dataclasses.field(default_factory=dict)
    """By epoch, 0 for the start: where to write the variables, with their seed axis, as they are then."""
    of: str = ""
    """What the files are marked with, and a checkpoint must be: see `save_tree`."""
    log: Callable[..., Any] = lambda **record: None
    """Given each seed's mean loss and accuracy for each chunk of steps."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise InputError("seeds are empty: give one for each network")
        if self.start is not None and np.shape(self.start.step) != (len(self.seeds),):
            raise InputError(
                f"start has steps of shape {np.shape(self.start.step)} for {len(self.seeds)} seeds: give a state for "
                "each, along a leading axis"
            )
        check_keywords("log", self.log, _RECORD)


_RECORD = ("seed", "step", "epoch", "loss", "accuracy", "seconds")
"""What `Training.log` is given."""


@checked()
def train(
    spec: StepSpec,
    config: TrainConfig,
    images: UInt8[np.ndarray, "images height width channels"],
    labels: Int[np.ndarray, " images"],
    strengths: PyTree,
    *,
    seeds: Sequence[int],
    start: TrainState | None = None,
    checkpoint: Path | None = None,
    snapshots: Mapping[int, Path] | None = None,
    log: Callable[..., Any] = lambda **record: None,
    progress: Report = silent,
) -> PyTree:
    """Train one network for each seed and return their variables with a leading seed axis.

    `images` is uint8 `(n, height, width, channels)` and `labels` int `(n,)`. `progress` is given the steps done, of
    how many, and a line of text. For the other arguments see `Training`.

    Raises `DivergedError` at the end of the chunk in which a loss is not finite, or of the training, and `InputError`
    for a snapshot after the last epoch.
    """
    own = Training(config, strengths, seeds, start, checkpoint, snapshots or {}, log=log)
    (result,) = train_together(spec, [own], images, labels, progress=progress)
    if isinstance(result, DivergedError):
        raise result
    return result


@checked()
def program_key(spec: StepSpec, config: TrainConfig, strengths: PyTree, images: int) -> Hashable:
    """What trainings must agree in to be one program, on a training set of `images` images: all but numbers."""
    structure = jax.tree.structure((config.hyper(images), strengths))
    shapes = [(np.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves((config.hyper(images), strengths))]
    run = config.devices, config.shard_parameters, config.accumulate
    return spec, config.steps_per_epoch(images), config.passes(images), run, structure, tuple(shapes)


@checked()
def train_together(
    spec: StepSpec,
    trainings: Sequence[Training],
    images: UInt8[np.ndarray, "images height width channels"],
    labels: Int[np.ndarray, " images"],
    *,
    progress: Report = silent,
) -> list[PyTree | DivergedError]:
    """Train several at the same time, as `train` does each, and return the variables of each, or why it failed.

    They go from chunk to chunk together. Those that a kill left behind catch up first; one that diverges leaves, and
    the others go on. Raises `InputError` for trainings that do not agree in `program_key`, and for a snapshot after
    the last epoch.
    """
    n = len(images)
    if len({program_key(spec, one.config, one.strengths, n) for one in trainings}) != 1:
        raise InputError("trainings in one program must agree in their steps and shapes and may differ in numbers only")
    per_epoch, epochs = trainings[0].config.steps_per_epoch(n), trainings[0].config.passes(n)
    for one in trainings:
        if late := [epoch for epoch in one.snapshots if not 0 <= epoch <= epochs]:
            raise InputError(
                f"a snapshot after epoch {late[0]} of a training of {epochs}: give epochs from 0 to {epochs}"
            )
    networks, config = sum(len(one.seeds) for one in trainings), trainings[0].config
    spec = with_recipe(spec, config, networks)
    placement = spec.placement
    length = math.ceil(per_epoch / math.ceil(per_epoch / CHUNK))
    running = [_Running(spec, one, n, images.shape[1:]) for one in trainings]
    on_device = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
    if placement is not None:
        on_device = place((images, labels.astype(np.int32)), placement.everywhere)
    chosen = "" if placement is None else placement.describe(networks)
    progress(min(one.done for one in running), per_epoch * epochs, chosen)
    while pending := [one for one in running if one.failure is None and one.done < per_epoch * epochs]:
        done = min(one.done for one in pending)
        behind = [one for one in pending if one.done == done]
        epoch, start = divmod(done, per_epoch)
        count = min(length, per_epoch - start)
        began = time.perf_counter()
        states, orders, keys, settings = _side_by_side(behind, epoch, n)
        data = Epoch(orders, *on_device)
        states, metrics = run_steps(spec, states, count, keys, data, settings, own=len(behind) > 1)
        history = {name: np.asarray(values) for name, values in metrics.items()}
        seconds = (time.perf_counter() - began) / len(orders)
        ends = np.cumsum([len(one.training.seeds) for one in behind])
        for one, end in zip(behind, ends, strict=True):
            mine = slice(end - len(one.training.seeds), end)
            part = jax.tree.map(lambda leaf, mine=mine: leaf[mine], states) if len(behind) > 1 else states
            one.advance(part, count, {name: values[mine] for name, values in history.items()}, seconds, per_epoch)
        progress(done + count, per_epoch * epochs, f"loss {history['loss'].mean():.3f}")
    return [one.result() for one in running]


@checked()
def with_recipe(spec: StepSpec, config: TrainConfig, networks: Positive) -> StepSpec:
    """The spec with what a recipe says of how its step is computed, for so many networks in one program.

    Raises `InputError` as `choose_placement` does.
    """
    return dataclasses.replace(spec, accumulate=config.accumulate, placement=choose_placement(config, networks))


class _Running:
    """A training on its way: how far it is, and its files."""

    def __init__(self, spec: StepSpec, training: Training, images: int, image_shape: tuple[int, ...]):
        self.training = training
        self.failure: DivergedError | None = None
        self.settings = Settings(training.config.hyper(images), training.strengths)
        self.order_keys, self.step_keys = _keys(training.seeds, "order"), _keys(training.seeds, "step")
        if training.start is None:
            self.states = init_states(spec, training.seeds, image_shape)
        else:
            self.states = stack(unstack(training.start, len(training.seeds)))  # a copy, for programs take what they get
        if training.checkpoint is not None and training.checkpoint.exists():
            self.states, _ = load_tree(training.checkpoint, self.states, of=training.of)
            check_steps(self.states, training.checkpoint, last=training.config.total_steps(images))
        self.done = int(self.states.step[0])
        if self.done == 0 and 0 in training.snapshots:
            save_tree(training.snapshots[0], gathered(self.states.variables), of=training.of)

    def advance(
        self, states: TrainState, count: int, history: Mapping[str, np.ndarray], seconds: float, per_epoch: int
    ) -> None:
        """Take the states after `count` more steps, and log and keep them, or note that a loss is not finite."""
        seeds, snapshots = self.training.seeds, self.training.snapshots
        self.states, self.done = states, self.done + count
        self.failure = _not_finite(history["loss"], seeds, first_step=self.done - count)
        if self.failure is not None:
            return
        for seed, loss, accuracy in zip(seeds, history["loss"].mean(1), history["accuracy"].mean(1), strict=True):
            self.training.log(
                seed=seed,
                step=self.done,
                epoch=self.done / per_epoch,
                loss=float(loss),
                accuracy=float(accuracy),
                seconds=round(seconds, 3),
            )
        epoch, left = divmod(self.done, per_epoch)
        if left == 0 and epoch in snapshots:
            # Before the checkpoint: a training that goes on from it has them.
            save_tree(snapshots[epoch], gathered(states.variables), of=self.training.of)
        if self.training.checkpoint is not None:
            whole = gathered(states)
            if processes.first():
                save_tree(self.training.checkpoint, whole, of=self.training.of)

    def result(self) -> "PyTree | DivergedError":
        if self.failure is not None:
            return self.failure
        variables = gathered(self.states.variables)
        for number, seed in enumerate(self.training.seeds):
            if not all(np.isfinite(leaf[number]).all() for leaf in jax.tree.leaves(variables)):
                return DivergedError(
                    f"the network of seed {seed} is not finite after the last step: lower the learning rate"
                )
        return jax.tree.map(jnp.asarray, variables)


@checked()
def check_steps(states: TrainState, path: Path, *, last: int) -> None:
    """Raise `InputError` for states read from `path` that are not those of one step from 0 to the `last`."""
    steps = np.asarray(states.step)
    if (steps != steps[0]).any() or not 0 <= steps[0] <= last:
        raise InputError(
            f"{path} is at the steps {sorted({int(step) for step in steps})} of a training of {last}: delete it to "
            "train again from the start"
        )


def _side_by_side(trainings: Sequence[_Running], epoch: int, n: int) -> tuple[TrainState, Array, Array, Settings]:
    """States, orders and keys along one axis of networks; settings as they are for one training, along it for more."""

    def joined(parts: Sequence[PyTree]) -> PyTree:
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts) if len(parts) > 1 else parts[0]

    keys = joined([one.step_keys for one in trainings])
    orders = jax.vmap(lambda key: epoch_order(key, epoch, n))(joined([one.order_keys for one in trainings]))
    states = joined([one.states for one in trainings])
    if len(trainings) == 1:
        return states, orders, keys, trainings[0].settings
    return states, orders, keys, stack([one.settings for one in trainings for _ in one.training.seeds])


@checked()
def init_states(spec: StepSpec, seeds: Sequence[int], image_shape: tuple[int, ...]) -> TrainState:
    """The fresh states of every seed for images `(height, width, channels)`, stacked along a leading axis."""
    if not seeds:
        raise InputError("seeds is empty; give one at least")
    return stack([init_state(spec, key, image_shape) for key in _keys(seeds, "init")])


def _keys(seeds: Sequence[int], use: Literal["init", "order", "step"]) -> Array:
    """A key for each seed; each use of randomness has its own, so that none repeats another's draws."""
    number = ("init", "order", "step").index(use)
    return jnp.stack([jax.random.fold_in(jax.random.key(seed), number) for seed in seeds])


def _not_finite(losses: np.ndarray, seeds: Sequence[int], *, first_step: int) -> DivergedError | None:
    bad = np.argwhere(~np.isfinite(losses))
    if not len(bad):
        return None
    seed, step = bad[np.argmin(bad[:, 1])]
    return DivergedError(
        f"the loss of seed {seeds[seed]} is {losses[seed, step]} at step {first_step + step}: "
        f"lower the learning rate, or warm up for longer"
    )
