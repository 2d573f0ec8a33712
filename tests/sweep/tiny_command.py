"""A sweep of one perceptron as a command, each step of which is slow where that is asked for."""

import dataclasses
import time
from pathlib import Path

from cnnjax import runtime
from cnnjax.runs import Progress, main, open_run
from cnnjax.sweep import CellPlan, cells
from cnnjax.training import TrainConfig, execution
from tests.sweep import tiny_sweep


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the sweep."""

    out: Path
    """The run directory."""
    seconds: float = 0.0
    """How long each step takes at least, in a call of its own that is printed."""


def run(config: Config) -> Path:
    """Train two networks for two epochs of thirty steps, each the steps between two checkpoints."""
    runtime.configure()
    if config.seconds:
        _slow_down(config.seconds)
    with open_run("tiny", config, out=config.out, ignore=("out", "seconds")) as directory, Progress(1) as progress:
        plan = CellPlan("only", tiny_sweep.MODEL, TrainConfig(epochs=2, batch_size=2, learning_rate=0.05))
        cells.sweep(directory, [plan], tiny_sweep.dataset(), seeds=2, progress=progress)
        return directory.path


def _slow_down(seconds: float) -> None:
    real = execution._repeated
    execution._most_steps = lambda *_: 1

    def repeated(program, *rest, **options):
        def called(state, *others):
            print("step", int(state.step), flush=True)
            time.sleep(seconds)
            return program(state, *others)

        return real(called, *rest, **options)

    execution._repeated = repeated


if __name__ == "__main__":
    main(Config, run, prog="python -m tests.sweep.tiny_command")
