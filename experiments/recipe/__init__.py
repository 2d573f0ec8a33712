"""How far does a training recipe bring a network, on images of any number?

Trains one network by one recipe, several seeds, and measures its error on the test images and how much its answers
depend on where an image lies. Images that memory cannot hold are decoded in each epoch, by worker processes, in random
parts where that is asked for.

    python -m experiments.recipe                        handwritten digits, no download
    python -m experiments.recipe --preset imagenet      ResNet-50 on ImageNet, prepared by tensorflow-datasets
    python -m experiments.recipe --preset imagenet --data.name folder --data.data-dir imagenet
    python -m experiments.recipe --preset imagenet --train.batch-size 8192 --data.workers 64

"imagenet" is the recipe of Goyal et al. 2017, who report a top-1 error of 23.60 ± 0.12 % (table 1, batches of 256); it
takes days on one accelerator. Where it deviates from the paper: batch statistics are over the whole batch, not over 32
images of each worker; the learning rate rises from 0, not from 0.1, and in batches of 256 too; weight decay leaves out
all biases, not only those of normalisation; the last layer is initialised as all others, not with a deviation of 0.01;
mean and deviation of pixels are from 2,000 training images; an epoch leaves out the images beyond its last whole batch;
the error is of the last epoch of each seed, one by default, not the median of five.

Expected on the default data: 1 to 3 % of the test digits wrong.

The same command goes on where a killed one was, at the exact image. The run directory holds every prediction, the
summary and the figures.
"""

import dataclasses
from pathlib import Path

from cnnjax import runtime
from cnnjax.data import Augmentation, DataConfig, Dataset
from cnnjax.runs import Progress, open_run
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Engine, sweep
from cnnjax.sweep.images import check_moves, load_images
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.protocol import ProtocolConfig
from cnnjax.sweep.ranges import check_ranges
from cnnjax.sweep.seeds import Seeds
from cnnjax.training import TrainConfig
from experiments.recipe import report

TAKES = "under a minute on two cores"

GROWS = ("seeds",)
"""Options of which a run may get more: it keeps what stands."""


@dataclasses.dataclass(frozen=True)
class Config(Seeds):
    """Options of the recipe experiment."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    network: NetworkConfig = dataclasses.field(
        default_factory=lambda: NetworkConfig.of("resnet", widths=(16, 32), depth=1, stem="7x7")
    )
    train: TrainConfig = dataclasses.field(
        default_factory=lambda: TrainConfig(epochs=8, batch_size=32, learning_rate=0.05)
    )
    reference_batch: int | None = None
    """The batch that train.learning_rate is meant for: others scale it linearly (Goyal et al. 2017, section 2.1)."""
    crop: int = 0
    """Padding of the random crop of training images, in pixels."""
    flip: float = 0.0
    """Probability of mirroring a training image left to right."""
    color: float = 0.0
    """How far brightness, contrast and saturation of a training image change, as a share either way."""
    protocol: ProtocolConfig = dataclasses.field(
        default_factory=lambda: ProtocolConfig(max_shift=2, orbits=("shift_zero",))
    )
    seeds: int = 3
    """Trainings of the network."""
    engine: Engine = "process"
    """Where cells are computed: in this process, or on the Ray cluster that runs here (extra `cluster`)."""
    out: Path | None = None
    """The run directory (by default runs/recipe/, under a name that follows from the options)."""


IMAGENET = Config(
    data=DataConfig(name="imagenet2012", size=224, fit="center", crop_area=0.08),
    network=NetworkConfig.of("resnet50", zero_init_last=True),
    train=TrainConfig(
        epochs=90,
        batch_size=256,
        learning_rate=0.1,
        schedule="steps",
        drops=(30 / 90, 60 / 90, 80 / 90),
        warmup=5 / 90,
        weight_decay=1e-4,
    ),
    reference_batch=256,
    flip=0.5,
    protocol=ProtocolConfig(max_shift=4, orbits=("shift_zero",)),
    seeds=1,
)
"""Goyal et al. 2017, section 5.1."""


def run(config: Config) -> Path:
    """Train and measure the networks, print the table, write summary and figures, and return the run directory."""
    check_ranges(config)
    runtime.configure()
    with open_run("recipe", config, out=config.out, grows=GROWS) as directory:
        with Progress(1) as progress:
            dataset = load_images(config.data, progress, stream=True)
            check_moves(dataset, crop=config.crop)
            config.train.steps_per_epoch(len(dataset.train.images))
            plan = plan_of(config, dataset)
            swept = sweep(
                directory,
                [plan],
                dataset,
                config.protocol,
                seeds=config.seeds,
                progress=progress,
                engine=config.engine,
                first_seed=config.first_seed,
            )
        report.write(swept)
        return directory.path


def plan_of(config: Config, dataset: Dataset) -> CellPlan:
    """What is trained, and how."""
    train = config.train
    if config.reference_batch is not None:
        scaled = train.learning_rate * train.batch_size / config.reference_batch
        train = dataclasses.replace(train, learning_rate=scaled)
    augmentation = Augmentation(crop=config.crop, flip=config.flip, color=config.color or None)
    return CellPlan(config.network.name.rpartition(":")[2], build(config.network, dataset), train, augmentation)
