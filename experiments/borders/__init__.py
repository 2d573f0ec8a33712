"""Does a convolutional network know where in the image something is, and does it know it from the border?

Two classes of images, red left of green and green left of red, of which one lies in the upper and one in the lower half
of the training images: the Red-Green experiment of Kayhan & van Gemert (2020, "On Translation Invariance in CNNs:
Convolutional Layers can Exploit Absolute Spatial Location", section 4.2). A network trained on them, for each kind of
padding, is tested on images alike, and on the same images moved to the half of the other class: what ignores place is
right on both, what goes by place is right on the first and wrong on the second.

    python -m experiments.borders                        a third of the published training, 3 seeds
    python -m experiments.borders --preset paper         the published training, 10 seeds

Expected: without padding (valid) networks go by place alone: all right, then all wrong. With zeros around the map
(same) nearly so. Full padding cuts nothing off anywhere, so that an image and the one moved by 16 pixels, a multiple of
the stride, cause exactly the same scores: both accuracies are equal for every seed. The published accuracies are over
images that were trained on; new ones show what was learnt.

The same command goes on where a killed one was. The run directory holds every prediction, the summary and the figures.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from cnnjax import runtime
from cnnjax.errors import InputError
from cnnjax.runs import Progress, grid, open_run
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Engine, sweep
from cnnjax.sweep.ranges import check_named, check_ranges
from cnnjax.sweep.seeds import Seeds
from cnnjax.training import TrainConfig
from experiments.borders import red_green, report
from experiments.borders.red_green import RedGreenNet

TAKES = "about eight minutes of processor time"

Kind = Literal["valid", "same", "full", "circular", "reflect"]

PUBLISHED = TrainConfig(
    epochs=50,
    batch_size=200,
    optimizer="adadelta",
    learning_rate=1.0,
    warmup=0.0,
    schedule="constant",
    weight_decay=5e-5,
)
"""Of the program that came with the paper, but for its choice of the epoch with the least loss."""

GROWS = ("seeds", "paddings")
"""Options of which a run may get more: it keeps what stands."""


@dataclasses.dataclass(frozen=True)
class Config(Seeds):
    """Options of the borders experiment."""

    paddings: tuple[Kind, ...] = ("valid", "same", "full")
    """What convolutions see beyond the border: nothing, so that maps shrink; zeros; zeros, so that maps grow; ..."""
    images: int = 2000
    """Training images."""
    test_images: int = 1000
    """Images in each of the four test sets; two of them are training images."""
    train: TrainConfig = dataclasses.field(default_factory=lambda: dataclasses.replace(PUBLISHED, epochs=17))
    seeds: int = 3
    """Networks for each padding."""
    engine: Engine = "process"
    """Where cells are computed: in this process, or on the Ray cluster that runs here (extra `cluster`)."""
    out: Path | None = None
    """The run directory (by default runs/borders/, under a name that follows from the options)."""


PAPER = Config(train=PUBLISHED, seeds=10)
"""The published size and length of training."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What distinguishes one cell from another."""

    padding: Kind = "same"


def run(config: Config) -> Path:
    """Train and test every cell, print the table, write summary and figures, and return the run directory."""
    _check(config)
    runtime.configure()
    cells = grid(Treatment(), {"padding": config.paddings})
    config.train.steps_per_epoch(config.images)
    with open_run("borders", config, out=config.out, grows=GROWS) as directory:
        with Progress(len(cells)) as progress:
            dataset = red_green.red_green(config.images, config.test_images)
            plans = [CellPlan(cell.name, RedGreenNet(cell.config.padding), config.train) for cell in cells]
            swept = sweep(
                directory,
                plans,
                dataset,
                seeds=config.seeds,
                progress=progress,
                engine=config.engine,
                first_seed=config.first_seed,
            )
        report.write(swept, {cell.name: cell.config.padding for cell in cells})
        return directory.path


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "paddings")
    for name in ("images", "test_images"):
        if getattr(config, name) < 2:
            raise InputError(f"{name}={getattr(config, name)} must be at least 2")
    if config.test_images > config.images:
        raise InputError(
            f"test_images={config.test_images} of {config.images} training images: two test sets are training images, "
            "so give at most as many"
        )
