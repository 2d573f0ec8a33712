"""What steps of a training take on this machine: the time of some, and the memory that the compiler says."""

import dataclasses
import math
import os
import time

import jax
import numpy as np
from jaxtyping import Array, Key

from cnnjax.door import checked
from cnnjax.door.limits import Positive
from cnnjax.training.config import Settings
from cnnjax.training.devices import place
from cnnjax.training.execution import MOST_STEPS, networks_at_once, run_steps, steps_program, unstack
from cnnjax.training.step import Epoch, StepSpec, TrainState


@checked()
def timed_steps(
    spec: StepSpec,
    states: TrainState,
    count: Positive,
    keys: Key[Array, " networks"],
    epoch: Epoch,
    settings: Settings,
) -> float:
    """Seconds of one of `count` steps of all networks, as `run_steps` makes them, after one that is not timed."""
    states, _ = run_steps(spec, states, 1, keys, epoch, settings)
    began = time.perf_counter()
    states, _ = run_steps(spec, states, count, keys, epoch, settings)
    jax.block_until_ready(states)
    return (time.perf_counter() - began) / count


@checked()
def steps_memory(
    spec: StepSpec, states: TrainState, keys: Key[Array, " networks"], epoch: Epoch, settings: Settings
) -> int:
    """Bytes of each device that steps of all networks take besides their arguments and results.

    It is the compiler's own count of a program's temporary arrays; 0 where the backend does not say.
    """
    networks, placement, at_once = len(epoch.order), spec.placement, 1
    if placement is not None and placement.over == "networks":
        networks, spec = math.ceil(networks / placement.devices), dataclasses.replace(spec, placement=None)
    mine = jax.tree.map(lambda leaf: leaf[:networks], (states, keys, epoch.order))
    together = networks_at_once() > 1 or placement is not spec.placement
    if not together:
        at_once = 1 if placement else min(networks, os.cpu_count() or 1)
        mine = unstack(mine, networks)[0]
    states, keys, order = mine
    if spec.placement is not None:
        states = place(states, spec.placement.of_state(states, stacked=together))
    program = steps_program(spec, MOST_STEPS, "shared" if together else "one")
    arguments = (states, np.int32(1), keys, dataclasses.replace(epoch, order=order), settings)
    found = program.lower(*arguments).compile().memory_analysis()
    return 0 if found is None else at_once * found.temp_size_in_bytes
