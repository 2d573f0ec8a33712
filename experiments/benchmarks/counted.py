"""Runs an experiment as its own command does, in short calls of its training programs, and notes each in a file.

    python -m experiments.benchmarks.counted NOTES experiments.augmentation --seeds 2

A line of NOTES is a network, the step that a call begins at, and its steps: from them `kills` finds what was repeated.
"""

import hashlib
import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnnjax import processes
from cnnjax.processes.watch import Watch
from cnnjax.runs import main
from cnnjax.sweep import cluster
from cnnjax.training import chunks, execution
from cnnjax.training.kept_states import network_name

SECONDS = 0.05
"""Of a call at most, so that a stop comes between many."""
PAUSE = 0.01
"""Seconds before each, so that these trainings take as long as to start a process, and kills meet them."""


def count(notes: str) -> None:
    """Note, from now on, every call of a training program in this process."""
    execution._SECONDS = SECONDS
    run_steps, repeated = chunks.run_steps, execution._repeated
    training = ""

    def noted_steps(spec: Any, states: Any, steps: int, keys: Any, epoch: Any, settings: Any, **options: Any) -> Any:
        nonlocal training
        numbers = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(settings))
        training = hashlib.sha256(network_name(spec.model).encode() + numbers).hexdigest()[:16]
        return run_steps(spec, states, steps, keys, epoch, settings, **options)

    def noted_calls(program: Any, most: int, state: Any, steps: int, key: Any, *rest: Any, **options: Any) -> Any:
        seed = np.asarray(jax.random.key_data(key)).tobytes().hex()

        def called(state: Any, count: Any, *others: Any) -> Any:
            if processes.first():
                append(notes, f"{training}-{seed} {int(state.step)} {int(count)}")
            time.sleep(PAUSE)
            return program(state, count, *others)

        return repeated(called, most, state, steps, key, *rest, **options)

    chunks.run_steps, execution._repeated = noted_steps, noted_calls


def append(file: str, line: str) -> None:
    """Add a line to a file that other processes add to as well."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def tell_when_joined(notes: str) -> None:
    """Note beside `notes`, from now on, that this process has met the others."""
    begin = Watch.start

    def start(self: Watch, store: Any) -> None:
        begin(self, store)
        append(str(Path(notes).with_suffix(".joined")), "joined")

    Watch.start = start


def command(notes: str, module: str, *arguments: str) -> None:
    """The command of an experiment, counted here and on the workers of a cluster."""
    count(notes)
    tell_when_joined(notes)
    cluster.KEEP_EVERY = cluster.LOOK_EVERY = 0.2
    compute = cluster._compute

    def counted(*cell: Any) -> Any:
        count(notes)
        return compute(*cell)

    cluster._compute = counted
    sys.argv = [module, *arguments]
    experiment = importlib.import_module(module)
    main(experiment.Config, experiment.run, prog=module)


if __name__ == "__main__":
    command(*sys.argv[1:])
