"""Training of several seeds from the first step, or from wherever a checkpoint left it, to the last."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from cnnjax.data import epoch_order
from cnnjax.errors import InputError
from cnnjax.training.checkpoint import load_tree, save_tree
from cnnjax.training.config import TrainConfig
from cnnjax.training.execution import run_steps, stack, unstack
from cnnjax.training.step import StepSpec, TrainState, init_state

CHUNK = 200
"""Steps between two checkpoints at most: what a killed training loses."""


class DivergedError(ArithmeticError):
    """The loss of a seed is infinite or not a number."""


def train(
    spec: StepSpec,
    config: TrainConfig,
    images: np.ndarray,
    labels: np.ndarray,
    strengths: PyTree,
    *,
    seeds: Sequence[int],
    checkpoint: Path | None = None,
    snapshots: Mapping[int, Path] | None = None,
    log: Callable[..., Any] = lambda **record: None,
    progress: Callable[[int, int, str], Any] = lambda done, total, text: None,
) -> PyTree:
    """Train one network for each seed and return their variables with a leading seed axis.

    `images` is uint8 `(n, height, width, channels)` and `labels` int `(n,)`. A seed fixes the initialisation, the
    order of every epoch and the augmentation. With `checkpoint`, the state is kept there after at most 200 steps, and
    a training that finds it goes on to the same result. `snapshots` are files by epoch: the variables, with their seed
    axis, are written there after that many epochs, 0 for the start. `log` is given each seed's mean loss and accuracy
    for each chunk of steps, `progress` the steps done, of how many, and a line of text.

    Raises `DivergedError` at the end of the chunk in which a loss is not finite, or of the training, and `InputError`
    for a snapshot after the last epoch.
    """
    n = len(images)
    per_epoch, epochs = config.steps_per_epoch(n), config.passes(n)
    snapshots = snapshots or {}
    if late := [epoch for epoch in snapshots if not 0 <= epoch <= epochs]:
        raise InputError(f"a snapshot after epoch {late[0]} of a training of {epochs}: give epochs from 0 to {epochs}")
    length = math.ceil(per_epoch / math.ceil(per_epoch / CHUNK))
    order_keys, step_keys = _keys(seeds, "order"), _keys(seeds, "step")
    states = init_states(spec, seeds, images.shape[1:])
    if checkpoint is not None and checkpoint.exists():
        states, _ = load_tree(checkpoint, states)
    done = int(states.step[0])
    hyper = config.hyper(n)
    images_on_device, labels_on_device = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
    progress(done, per_epoch * epochs, "")
    if done == 0 and 0 in snapshots:
        save_tree(snapshots[0], states.variables)
    while done < per_epoch * epochs:
        epoch, start = divmod(done, per_epoch)
        count = min(length, per_epoch - start)
        began = time.perf_counter()
        orders = jax.vmap(lambda key, epoch=epoch: epoch_order(key, epoch, n))(order_keys)
        states, metrics = run_steps(
            spec, states, count, step_keys, orders, images_on_device, labels_on_device, hyper, strengths
        )
        done += count
        history = {name: np.asarray(values) for name, values in metrics.items()}
        _check_finite(history["loss"], seeds, first_step=done - count)
        seconds = time.perf_counter() - began
        for seed, loss, accuracy in zip(seeds, history["loss"].mean(1), history["accuracy"].mean(1), strict=True):
            log(
                seed=seed,
                step=done,
                epoch=done / per_epoch,
                loss=float(loss),
                accuracy=float(accuracy),
                seconds=round(seconds / len(seeds), 3),
            )
        if start + count == per_epoch and epoch + 1 in snapshots:
            # Before the checkpoint: a training that goes on from it has them.
            save_tree(snapshots[epoch + 1], states.variables)
        if checkpoint is not None:
            save_tree(checkpoint, states)
        progress(done, per_epoch * epochs, f"loss {history['loss'].mean():.3f}")
    for seed, variables in zip(seeds, unstack(states.variables, len(seeds)), strict=True):
        if not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(variables)):
            raise DivergedError(
                f"the network of seed {seed} is not finite after the last step: lower the learning rate"
            )
    return states.variables


def init_states(spec: StepSpec, seeds: Sequence[int], image_shape: tuple[int, ...]) -> TrainState:
    """The fresh states of every seed for images `(height, width, channels)`, stacked along a leading axis."""
    return stack([init_state(spec, key, image_shape) for key in _keys(seeds, "init")])


def _keys(seeds: Sequence[int], use: Literal["init", "order", "step"]) -> Array:
    """A key for each seed; each use of randomness has its own, so that none repeats another's draws."""
    number = ("init", "order", "step").index(use)
    return jnp.stack([jax.random.fold_in(jax.random.key(seed), number) for seed in seeds])


def _check_finite(losses: np.ndarray, seeds: Sequence[int], *, first_step: int) -> None:
    bad = np.argwhere(~np.isfinite(losses))
    if len(bad):
        seed, step = bad[np.argmin(bad[:, 1])]
        raise DivergedError(
            f"the loss of seed {seeds[seed]} is {losses[seed, step]} at step {first_step + step}: "
            f"lower the learning rate, or warm up for longer"
        )
