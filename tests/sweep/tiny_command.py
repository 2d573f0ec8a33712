"""A sweep of one perceptron as a command, each step of which is slow where that is asked for."""

import dataclasses
import functools
import time
from pathlib import Path

from cnnjax import runtime
from cnnjax.data import Dataset
from cnnjax.runs import Progress, main, open_run
from cnnjax.sweep import CellPlan, cells, cluster
from cnnjax.training import TrainConfig, execution
from tests.sweep import tiny_sweep


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the sweep."""

    out: Path
    """The run directory."""
    seconds: float = 0.0
    """How long each step takes at least, in a call of its own that is printed."""
    engine: cells.Engine = "process"
    """Where the cell is computed. From a cluster its checkpoints come back at once."""


def run(config: Config) -> Path:
    """Train two networks for three epochs of thirty steps, each the steps between two checkpoints."""
    runtime.configure()
    cluster.KEEP_EVERY = cluster.LOOK_EVERY = 0.2
    train, slow = TrainConfig(epochs=3, batch_size=2, learning_rate=0.05), functools.partial(_slow_down, config.seconds)
    plan = CellPlan("only", tiny_sweep.MODEL, train, change=slow if config.seconds else None)
    options = ("out", "seconds", "engine")
    with open_run("tiny", config, out=config.out, ignore=options) as directory, Progress(1) as progress:
        cells.sweep(directory, [plan], tiny_sweep.dataset(), seeds=2, progress=progress, engine=config.engine)
        return directory.path


def _slow_down(seconds: float, dataset: Dataset) -> Dataset:
    """The same images for a process in which every step takes that long."""
    real = execution._repeated
    execution._most_steps = lambda *_: 1

    def repeated(program, *rest, **options):
        def called(state, *others):
            print(f"step {int(state.step)}\n", end="", flush=True)  # in one piece: threads write side by side
            time.sleep(seconds)
            return program(state, *others)

        return real(called, *rest, **options)

    execution._repeated = repeated
    return dataset


if __name__ == "__main__":
    main(Config, run, prog="python -m tests.sweep.tiny_command")
