"""An experiment of seconds, to be started as several processes: two cells of a network with batch normalisation:

python -m tests.processes.tiny --out FOLDER --distributed.processes 2 --distributed.process 0 ...
"""

import dataclasses
from pathlib import Path
from typing import Any

import flax.linen as nn

from cnnjax import runtime
from cnnjax.data import Augmentation, Dataset
from cnnjax.runs import Progress, main, open_run
from cnnjax.sweep import CellPlan, sweep
from cnnjax.training import TrainConfig
from tests.sweep import tiny_sweep


class Normalized(nn.Module):
    """Two dense layers with batch normalisation between them, so that every image of a batch counts for all others."""

    num_classes: int

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.Dense(8, name="hidden")(images.reshape(len(images), -1))
        x = nn.tanh(nn.BatchNorm(use_running_average=not train, name="norm")(x))
        logits = nn.Dense(self.num_classes, name="logits")(x)
        return logits, {"logits": logits}


def of_epochs(epochs: int) -> TrainConfig:
    """The recipe: three steps in an epoch."""
    return TrainConfig(epochs=epochs, batch_size=20, learning_rate=0.05)


@dataclasses.dataclass(frozen=True)
class Config:
    """The options of the test."""

    out: Path
    train: TrainConfig = dataclasses.field(default_factory=lambda: of_epochs(2))
    seeds: int = 2
    fewer: int = 0
    """Training images to leave out: not the same data, then."""


def data(fewer: int = 0) -> Dataset:
    """The images of the tests of sweeps."""
    whole = tiny_sweep.dataset()
    train = dataclasses.replace(whole.train, images=whole.train.images[fewer:], labels=whole.train.labels[fewer:])
    return dataclasses.replace(whole, train=train)


def run(config: Config) -> Path:
    """Train and measure both cells, and return the run directory."""
    runtime.configure()
    options: dict[str, Any] = dict(ignore=("out", "fewer"), grows=("seeds",))
    with open_run("tiny", config, out=config.out, **options) as directory, Progress(2) as progress:
        second = dataclasses.replace(config.train, learning_rate=config.train.learning_rate / 2)
        recipes = {"first": config.train, "second": second}
        plans = [CellPlan(name, Normalized(3), recipe, Augmentation(crop=1)) for name, recipe in recipes.items()]
        swept = sweep(directory, plans, data(config.fewer), seeds=config.seeds, progress=progress)
        print(*swept.failures, "both cells are finished", sep="\n")
        return directory.path


if __name__ == "__main__":
    main(Config, run, prog="python -m tests.processes.tiny")
