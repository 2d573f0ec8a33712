"""Training of several seeds from the first step, or from wherever a checkpoint left it, to the last."""

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree, UInt8

from cnnjax import ending, processes
from cnnjax.data import StoredImages
from cnnjax.door import checked
from cnnjax.door.limits import Positive
from cnnjax.door.scalars import check_keywords
from cnnjax.errors import InputError
from cnnjax.reporting import Report, silent
from cnnjax.training.checkpoint import save_tree
from cnnjax.training.chunks import run_chunk, stepper
from cnnjax.training.config import Settings, TrainConfig
from cnnjax.training.devices import choose_placement, gathered
from cnnjax.training.execution import stack, unstack
from cnnjax.training.kept_states import Begun, KeptStates, network_name
from cnnjax.training.step import StepSpec, TrainState, check_classes, init_state

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
    """Where the state is kept after at most 200 steps, and at SIGTERM or an interrupt after those of the call that a
    program is in; a training that finds it goes on to the same result. The one before is kept beside it."""
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
    images: UInt8[np.ndarray, "images height width channels"] | StoredImages,
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

    `images` is uint8 `(n, height, width, channels)`, or `StoredImages` that are decoded meanwhile, and `labels` int
    `(n,)`. `progress` is given the steps done, of how many, and a line of text. For the other arguments see `Training`.

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
    images: UInt8[np.ndarray, "images height width channels"] | StoredImages,
    labels: Int[np.ndarray, " images"],
    *,
    progress: Report = silent,
) -> list[PyTree | DivergedError]:
    """Train several at the same time, as `train` does each, and return the variables of each, or why it failed.

    They go from chunk to chunk together. Those that a kill left behind catch up first; one that diverges leaves, and
    the others go on. Raises `InputError` for trainings that do not agree in `program_key`, for a snapshot after the
    last epoch, and for a network that cannot take the images, returns no logits, or fewer than there are classes.
    """
    n = len(images)
    if len({program_key(spec, one.config, one.strengths, n) for one in trainings}) != 1:
        raise InputError("trainings in one program must agree in their steps and shapes and may differ in numbers only")
    check_classes(spec, images.shape[1:], labels)
    per_epoch, epochs = trainings[0].config.steps_per_epoch(n), trainings[0].config.passes(n)
    for one in trainings:
        if late := [epoch for epoch in one.snapshots if not 0 <= epoch <= epochs]:
            raise InputError(
                f"a snapshot after epoch {late[0]} of a training of {epochs}: give epochs from 0 to {epochs}"
            )
    networks, config = sum(len(one.seeds) for one in trainings), trainings[0].config
    # Streamed networks come one after the other, so devices share their batches.
    spec = with_recipe(spec, config, 1 if isinstance(images, StoredImages) else networks)
    placement = spec.placement
    length = math.ceil(per_epoch / math.ceil(per_epoch / CHUNK))
    running = [_Running(spec, one, n, images.shape[1:]) for one in trainings]
    chosen = "" if placement is None else placement.describe(networks)
    progress(min(one.done for one in running), per_epoch * epochs, chosen)
    with stepper(spec, images, labels, per_epoch, per_epoch * epochs) as run:
        while pending := [one for one in running if one.failure is None and one.done < per_epoch * epochs]:
            done = min(one.done for one in pending)
            behind = [one for one in pending if one.done == done]
            count = min(length, per_epoch - done % per_epoch)
            own = len(behind) > 1
            with ending.deferred() as stop:
                began = time.perf_counter()
                # Of several processes none may stop before the others: they end with the steps up to the next
                # checkpoint.
                alone = stop if processes.count() == 1 else threading.Event()
                states, history = run_chunk(run, done, count, *_side_by_side(behind), own=own, stop=alone)
                seconds = (time.perf_counter() - began) / len(states.step)
                ends = np.cumsum([len(one.training.seeds) for one in behind])
                for one, end in zip(behind, ends, strict=True):
                    mine = slice(end - len(one.training.seeds), end)
                    part = jax.tree.map(lambda leaf, mine=mine: leaf[mine], states) if own else states
                    metrics = {name: values[mine] for name, values in history.items()}
                    one.advance(part, count, metrics, seconds, per_epoch)
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
        self.begun: Begun | None = None
        self.kept: KeptStates | None = None
        if training.checkpoint is not None:
            self.kept = KeptStates(training.checkpoint, training.of, network_name(spec.model), training.seeds)
            found = self.kept.load(self.states, last=training.config.total_steps(images))
            self.states, self.begun = found or (self.states, None)
        self.done = self.begun.step if self.begun else int(self.states.step[0])
        if self.done == 0 and 0 in training.snapshots:
            save_tree(training.snapshots[0], gathered(self.states.variables), of=training.of)

    def advance(
        self, states: TrainState, count: int, history: Mapping[str, np.ndarray], seconds: float, per_epoch: int
    ) -> None:
        """Take the states after `count` more steps, and log and keep them, or note that a loss is not finite.

        After a stop some networks have taken fewer; these states are kept only, with the metrics so far.
        """
        seeds, snapshots = self.training.seeds, self.training.snapshots
        self.states = states
        if self.begun is not None:
            seconds += self.begun.seconds
            for name, values in history.items():
                for mine, before in zip(values, self.begun.metrics[name], strict=True):
                    mine[: len(before)] = before
        taken = np.asarray(states.step) - self.done
        if (taken < count).any():
            metrics = {
                name: [mine[:steps].tolist() for mine, steps in zip(values, taken, strict=True)]
                for name, values in history.items()
            }
            self.begun = Begun(self.done, metrics, seconds)
            if self.kept is not None:
                self.kept.save(gathered(states), self.begun)
            return
        self.begun, self.done = None, self.done + count
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
        if self.kept is not None:
            whole = gathered(states)  # by all processes together
            if processes.first():
                self.kept.save(whole)

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


def _side_by_side(trainings: Sequence[_Running]) -> tuple[TrainState, Array, Array, Settings]:
    """States, keys of orders and of steps along one axis of networks; settings too, of several trainings."""

    def joined(parts: Sequence[PyTree]) -> PyTree:
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts) if len(parts) > 1 else parts[0]

    keys = joined([one.step_keys for one in trainings])
    order_keys = joined([one.order_keys for one in trainings])
    states = joined([one.states for one in trainings])
    if len(trainings) == 1:
        return states, order_keys, keys, trainings[0].settings
    return states, order_keys, keys, stack([one.settings for one in trainings for _ in one.training.seeds])


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
