"""The steps between two checkpoints, on images in memory or streamed ones, with what a stop has left of them."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from cnnjax.data import StoredImages, epoch_order
from cnnjax.training.config import Settings
from cnnjax.training.devices import place
from cnnjax.training.execution import run_steps, stack, unstack
from cnnjax.training.step import METRICS, Epoch, StepSpec, TrainState
from cnnjax.training.streaming import Stream


@contextlib.contextmanager
def stepper(
    spec: StepSpec, images: np.ndarray | StoredImages, labels: np.ndarray, per_epoch: int, last: int
) -> Iterator[Callable[..., Any]]:
    """A function that takes networks so many steps further: see `Stream.run_steps`, for images in memory too."""
    if isinstance(images, StoredImages):
        with contextlib.closing(Stream(spec, images, labels, last)) as stream:
            yield stream.run_steps
        return
    on_device = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
    if spec.placement is not None:
        on_device = place((images, labels.astype(np.int32)), spec.placement.everywhere)

    def run(
        states: TrainState,
        done: int,
        count: int,
        order_keys: Array,
        keys: Array,
        settings: Settings,
        *,
        own: bool,
        stop: threading.Event,
    ) -> tuple[TrainState, dict[str, np.ndarray]]:
        orders = jax.vmap(lambda key: epoch_order(key, done // per_epoch, len(images)))(order_keys)
        data = Epoch(orders, *on_device)
        return run_steps(spec, states, count, keys, data, settings, own=own, stop=stop)

    yield run


def run_chunk(
    run: Callable[..., Any],
    done: int,
    count: int,
    states: TrainState,
    order_keys: Array,
    keys: Array,
    settings: Settings,
    *,
    own: bool,
    stop: threading.Event,
) -> tuple[TrainState, dict[str, np.ndarray]]:
    """Take the networks to `count` steps after `done`, whatever part of them each has taken before a stop.

    `run` is that of `stepper`. Metrics are `(networks, count)`, and NaN for the steps that were taken before.
    """
    taken = np.asarray(states.step) - done
    history = {name: np.full((len(taken), count), np.nan, np.float32) for name in METRICS}
    if (taken == taken[0]).all():
        before = int(taken[0])
        states, metrics = run(states, done + before, count - before, order_keys, keys, settings, own=own, stop=stop)
        for name, values in metrics.items():
            history[name][:, before:] = values
        return states, history
    networks = unstack(states, len(taken))
    for network in np.flatnonzero(taken < count):
        one, before = slice(network, network + 1), int(taken[network])
        mine = jax.tree.map(lambda leaf, one=one: leaf[one], settings) if own else settings
        parts = stack([networks[network]]), done + before, count - before, order_keys[one], keys[one], mine
        state, metrics = run(*parts, own=own, stop=stop)
        (networks[network],) = unstack(state, 1)
        for name, values in metrics.items():
            history[name][one, before:] = values
    return stack(networks), history
