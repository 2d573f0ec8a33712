"""Does a deeper network learn better, and what do shortcuts change about that?

Trains He et al.'s CIFAR networks, plain and residual, at growing depth, several seeds each, and measures each on its
own training images (without augmentation, with the running statistics of its normalisation) and on the test images;
how strong the learning signal is in each layer, at the start and while the networks train; how far each layer sees; and
how much the answers depend on where the image lies.

    python -m experiments.depth                      handwritten digits of 8 pixels, no download
    python -m experiments.depth --preset paper       He et al.'s widths, depths and recipe on CIFAR-10

Expected on the default data: degradation. The training error of plain networks rises with depth, from next to nothing
at 8 layers to more than one image in ten at 32, and with it the test error; that of residual networks stays at nothing.
It is no overfitting, for the training error itself rises, and the receptive field is not what is missing, for it is the
same in both.

The paper's test errors of residual networks on CIFAR-10 are 8.75, 7.51, 7.17, 6.97 and 6.43 % at 20, 32, 44, 56 and 110
layers (He et al. 2016, table 6). The preset has its 64,000 steps, in whole epochs; its weight decay leaves out biases
and scales, and its momentum is Nesterov's.

The same command goes on where a killed one was. The run directory holds every prediction and measurement, the summary
and the figures.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from cnnjax import runtime
from cnnjax.data import Augmentation, DataConfig, Dataset
from cnnjax.errors import InputError
from cnnjax.runs import Cell, Progress, grid, open_run
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Engine, sweep
from cnnjax.sweep.images import check_moves, load_images
from cnnjax.sweep.network import NetworkConfig, blocks_of, build
from cnnjax.sweep.protocol import ProtocolConfig
from cnnjax.sweep.ranges import check_named, check_ranges
from cnnjax.sweep.seeds import Seeds
from cnnjax.training import TrainConfig
from experiments.depth import report
from experiments.depth.cells import DepthPlan, measure_depth

TAKES = "about six minutes on one core"

Kind = Literal["plain", "residual"]

GROWS = ("seeds", "depths", "kinds")
"""Options of which a run may get more: it keeps what stands."""


@dataclasses.dataclass(frozen=True)
class Config(Seeds):
    """Options of the depth experiment."""

    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(size=8, canvas=12))
    depths: tuple[int, ...] = (8, 20, 32)
    """Layers of the networks: 6n + 2, n blocks of two convolutions in each stage."""
    widths: tuple[int, int, int] = (4, 8, 16)
    """Channels of the three stages."""
    kinds: tuple[Kind, ...] = ("plain", "residual")
    """Networks without and with shortcuts."""
    train: TrainConfig = dataclasses.field(
        default_factory=lambda: TrainConfig(epochs=8, batch_size=32, learning_rate=0.05, weight_decay=1e-4)
    )
    crop: int = 0
    """Padding of the random crop of training images, in pixels."""
    flip: float = 0.0
    """Probability of mirroring a training image left to right."""
    moments: int = 2
    """How often the learning signal is measured after the start, the end among them."""
    images: int = 64
    """Training images over which the gradient is taken, the same each time."""
    protocol: ProtocolConfig = dataclasses.field(
        default_factory=lambda: ProtocolConfig(max_shift=2, orbits=("shift_zero",))
    )
    engine: Engine = "process"
    """Where cells are computed: in this process, or on the Ray cluster that runs here (extra `cluster`)."""
    out: Path | None = None
    """The run directory (by default runs/depth/, under a name that follows from the options)."""


PAPER = Config(
    data=DataConfig(name="cifar10"),
    depths=(20, 32, 44, 56, 110),
    widths=(16, 32, 64),
    train=TrainConfig(
        epochs=164,
        batch_size=128,
        learning_rate=0.1,
        schedule="steps",
        drops=(0.5, 0.75),
        warmup=0.00625,
        weight_decay=1e-4,
    ),
    crop=4,
    flip=0.5,
    moments=4,
    images=256,
    protocol=ProtocolConfig(max_shift=4, orbits=("shift_zero", "shift_circular")),
    seeds=5,
)
"""He et al. 2016, section 4.2. All depths warm up for 400 steps, as theirs of 110 layers does to get started."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What distinguishes one network from another."""

    network: Kind = "plain"
    depth: int = 20


def run(config: Config) -> Path:
    """Train and measure every network, print the tables, write summary and figures, and return the run directory."""
    _check(config)
    runtime.configure()
    cells = grid(Treatment(), {"network": config.kinds, "depth": config.depths})
    with open_run("depth", config, out=config.out, grows=GROWS) as directory:
        with Progress(2 * len(cells)) as progress:
            dataset = load_images(config.data, progress)
            check_moves(dataset, crop=config.crop)
            if config.images > (count := len(dataset.train.images)):
                raise InputError(f"images={config.images} of {count} training images: give fewer")
            config.train.steps_per_epoch(count)
            plans = [_plan(cell, config, dataset) for cell in cells]
            cells = [plan.cell for plan in plans]
            options: dict[str, Any] = dict(
                seeds=config.seeds, first_seed=config.first_seed, progress=progress, engine=config.engine
            )
            swept = sweep(directory, cells, dataset, config.protocol, **options)
            results = measure_depth(swept, images=config.images, progress=progress)
        report.write(swept, plans, results)
        return directory.path


def _plan(cell: Cell[Treatment], config: Config, dataset: Dataset) -> DepthPlan:
    what = cell.config
    model = build(
        NetworkConfig.of(
            "resnet", widths=config.widths, depth=blocks_of(what.depth), residual=what.network == "residual"
        ),
        dataset,
    )
    epochs = config.train.passes(len(dataset.train.images))
    moments = sorted({round(epochs * moment / config.moments) for moment in range(config.moments + 1)})
    augmentation = Augmentation(crop=config.crop, flip=config.flip)
    return DepthPlan(
        CellPlan(cell.name, model, config.train, augmentation, snapshots=tuple(moments)), what.network, what.depth
    )


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "depths", "kinds")
    for depth in config.depths:
        blocks_of(depth, option="depths")
