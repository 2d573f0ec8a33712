"""Steps on images that memory does not hold: while one is computed, the images of the next ones are decoded."""

import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.stages import Wrapped
from jaxtyping import Array

from cnnjax import processes, runtime
from cnnjax.data import StoredImages, streamed_batches
from cnnjax.training.config import Settings
from cnnjax.training.devices import gathered, place
from cnnjax.training.execution import stack, unstack
from cnnjax.training.step import METRICS, StepSpec, TrainState, batch_step

_AHEAD = 2  # steps whose images may be on the device before the first of them is done


class Stream:
    """The steps of networks on streamed images, one network after the other in each.

    It is told for which networks a step is when that is computed; while these stay the same, the workers go on.
    """

    def __init__(self, spec: StepSpec, images: StoredImages, labels: np.ndarray, last: int):
        self.spec, self.images, self.labels, self.last = spec, images, labels, last
        self.batches: Iterator[Any] | None = None
        self.next: tuple[bytes, int] | None = None

    def run_steps(
        self,
        states: TrainState,
        done: int,
        count: int,
        orders: Array,
        keys: Array,
        settings: Settings,
        *,
        own: bool,
        stop: threading.Event,
    ) -> tuple[TrainState, dict[str, np.ndarray]]:
        """`count` steps of every network after the `done` ones, as `execution.run_steps` does them, metrics included.

        `orders` are the keys from which the orders of the epochs follow. Once `stop` is set no further step is begun.
        """
        networks = len(keys)
        # Networks of one seed, which differ in numbers, see the same images: decoded once.
        _, first, which = np.unique(
            np.asarray(jax.random.key_data(orders)), axis=0, return_index=True, return_inverse=True
        )
        batches = self._batches(orders[first], done)
        each = unstack(settings, networks) if own else [settings] * networks
        trained, placement = unstack(states, networks), self.spec.placement
        if placement is not None:
            trained = [place(state, placement.of_state(state)) for state in trained]
            each, keys = place((each, keys), placement.everywhere)
        history: list[list[dict[str, Array]]] = []
        program: Callable[..., Any] | None = None
        for _ in range(count):
            if stop.is_set():
                break
            pixels, labels = next(batches)
            # Sent while the step before is being computed.
            on_device = [self._on_device((pixels[i], labels[i])) for i in range(len(first))]
            if len(history) >= _AHEAD:
                jax.block_until_ready(history[-_AHEAD])
            if program is None:
                parts = on_device[which.ravel()[0]]
                program = _ready(self.spec, trained[0], keys[0], *parts, each[0])
            metrics = []
            for i in range(networks):
                trained[i], found = program(trained[i], keys[i], *on_device[which.ravel()[i]], each[i])
                metrics.append(found)
            history.append(metrics)
        self.next = (self._named(orders[first]), done + len(history))
        metrics = {name: np.full((networks, count), np.nan, np.float32) for name in METRICS}
        for number, step in enumerate(history):
            for i, name in itertools.product(range(networks), METRICS):
                metrics[name][i, number] = gathered(step[i][name])
        return stack(trained), metrics

    def _batches(self, keys: Array, done: int) -> Iterator[Any]:
        if self.batches is None or self.next != (self._named(keys), done):
            self.close()
            self.batches = streamed_batches(
                keys,
                self.images,
                self.labels,
                batch_size=self.spec.batch_size,
                start=done,
                stop=self.last,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            )
        return self.batches

    def _on_device(self, batch: tuple[np.ndarray, np.ndarray]) -> Any:
        """The rows that this process has of a batch, as a part of the whole."""
        if self.spec.placement is None:
            return jax.device_put(batch)
        lies = self.spec.placement.shared
        return tuple(jax.make_array_from_process_local_data(lies, rows) for rows in batch)

    @staticmethod
    def _named(keys: Array) -> bytes:
        return np.asarray(jax.random.key_data(keys)).tobytes()

    def close(self) -> None:
        """End the workers."""
        if self.batches is not None:
            self.batches.close()  # pyright: ignore[reportAttributeAccessIssue] - a generator's
        self.batches = self.next = None


def _ready(spec: StepSpec, *arguments: Any) -> Callable[..., Any]:
    """The program of a step, for arguments like these; several processes meet with theirs compiled."""
    program = _program(spec)
    if processes.count() > 1:  # in a collective one does not wait for long
        program = program.lower(*arguments).compile()
        processes.meet()
    return program


@functools.lru_cache(maxsize=8)
def _program(spec: StepSpec) -> Wrapped:
    def step(state: TrainState, key: Array, pixels: Array, labels: Array, settings: Settings) -> Any:
        return batch_step(spec, state, key, pixels, labels, settings)

    return jax.jit(step, donate_argnums=0, compiler_options=runtime.compiler_options())
