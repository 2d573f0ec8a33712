"""How invariant to translation and rotation does a convolutional network become when its training images are augmented?

Trains a small network under each of: no augmentation, random crops (translation), random rotation, and both; several
seeds each; and measures every network under the invariance protocol: all shifts up to a few pixels, all round the
circle, with accuracy, worst case and consistency beyond what accuracy forces.

    python -m experiments.augmentation                                real handwritten digits, no download
    python -m experiments.augmentation --data.name mnist              MNIST, from tensorflow-datasets
    python -m experiments.augmentation --data.name folder --data.data-dir photos --data.size 32

Expected on the default data, in about two minutes on two cores: without augmentation, accuracy collapses under
rotation; with rotation it recovers; crops flatten the accuracy over translations.

The same command goes on where a killed one was. The run directory holds the configuration, every prediction, the
summary and the figures.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from cnnjax import runtime
from cnnjax.data import Augmentation, DataConfig, load
from cnnjax.errors import InputError
from cnnjax.study import Progress, grid, main, open_run
from cnnjax.training import TrainConfig
from experiments.common import invariance_report
from experiments.common.network import NetworkConfig, build
from experiments.common.protocol import ProtocolConfig, prove, tasks
from experiments.common.sweep import CellPlan, Engine, sweep

Kind = Literal["none", "crop", "rotation", "both"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the augmentation experiment."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    protocol: ProtocolConfig = dataclasses.field(default_factory=ProtocolConfig)
    augmentations: tuple[Kind, ...] = ("none", "crop", "rotation", "both")
    """The kinds of augmentation to compare."""
    crop: int = 4
    """Padding of the random crop, in pixels."""
    rotation: float = 180.0
    """Farthest random rotation either way, in degrees."""
    flip: float = 0.0
    """Probability of mirroring left to right, under every kind of augmentation."""
    seeds: int = 5
    """Networks in each cell."""
    engine: Engine = "process"
    """Where cells are computed: in this process, or on the Ray cluster that runs here (extra `cluster`)."""
    out: Path | None = None
    """The run directory (by default runs/augmentation/, under a name that follows from the options)."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What one cell does to its training images."""

    augmentation: Kind
    crop: int
    rotation: float
    flip: float

    def strengths(self) -> Augmentation:
        """The treatment as numbers: what the kind leaves out is 0."""
        return Augmentation(
            crop=self.crop if self.augmentation in ("crop", "both") else 0,
            rotation=self.rotation if self.augmentation in ("rotation", "both") else 0.0,
            flip=self.flip,
        )


def run(config: Config) -> Path:
    """Train and measure every cell, print the table, write summary and figures, and return the run directory."""
    _check(config)
    runtime.configure()
    treatment = Treatment("none", config.crop, config.rotation, config.flip)
    cells = grid(treatment, {"augmentation": config.augmentations})
    with open_run("augmentation", config, out=config.out) as directory:
        with Progress(len(cells)) as progress:
            dataset = load(config.data, max_shift=config.protocol.max_shift, progress=progress.prepare)
            config.train.steps_per_epoch(len(dataset.train.images))
            model = build(config.network, dataset)
            prove(tasks(config.protocol, dataset, model), model, dataset)
            plans = [CellPlan(cell.name, model, config.train, cell.config.strengths()) for cell in cells]
            outcomes = sweep(
                directory, plans, dataset, config.protocol, seeds=config.seeds, progress=progress, engine=config.engine
            )
        invariance_report.write(directory, outcomes, dataset, config.protocol, model, seeds=config.seeds)
        return directory.path


def _check(config: Config) -> None:
    if config.seeds < 1:
        raise InputError(f"seeds={config.seeds}: train at least 1 network in each cell, 5 for an interval worth having")
    if not config.augmentations:
        raise InputError("augmentations is empty: name at least one of none, crop, rotation, both")
    if config.crop < 0 or config.rotation < 0 or not 0 <= config.flip <= 1:
        raise InputError(
            f"crop={config.crop} and rotation={config.rotation} must not be negative, "
            f"and flip={config.flip} must lie in [0, 1]"
        )


if __name__ == "__main__":
    main(Config, run, prog="python -m experiments.augmentation")
