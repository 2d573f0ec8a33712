"""What do units at each depth respond to, how alike are layers and networks, and when can classes be told apart?

Trains a convolutional network from several seeds and looks at every layer of it, at the start and trained:

- units: how selective for a class, how often of one class the images that make a unit answer most, how sparse;
- linear probes: what share of test images logistic regression on a layer's means over cells of its map gets right;
- similarity: centred kernel alignment (CKA), without bias, of every layer with every layer of every network.

    python -m experiments.features                               coloured shapes of 32 pixels, no download
    python -m experiments.features --data.name cifar10 --network.widths 32 64 128
    python -m experiments.features --preset paper                ResNet-20 on CIFAR-10, for an accelerator

Expected on the default data: the hue can be read from the first layer on, before any training; the kind of shape only
as training builds it up, stage by stage, and with it the class. Units come to answer few classes towards the end.
Layers are like their neighbours, and trained ones less and less like those at the start.

The same command goes on where a killed one was. The run directory holds every unit, every similarity, summary, figures.
"""

import dataclasses
from pathlib import Path

from cnnjax import runtime
from cnnjax.data import Augmentation, DataConfig
from cnnjax.errors import InputError
from cnnjax.runs import Progress, open_run
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import sweep
from cnnjax.sweep.images import check_moves, load_images
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.ranges import check_ranges
from cnnjax.sweep.seeds import Seeds
from cnnjax.training import TrainConfig
from experiments.features import report
from experiments.features.cells import CELL, Extent, measure_all

TAKES = "about four minutes on one core"

GROWS = ("seeds",)
"""Options of which a run may get more: it keeps what stands."""


@dataclasses.dataclass(frozen=True)
class Config(Seeds):
    """Options of the features experiment."""

    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(name="coloured_shapes"))
    network: NetworkConfig = dataclasses.field(
        default_factory=lambda: NetworkConfig.of("all_conv", widths=(16, 32, 64), depth=2)
    )
    train: TrainConfig = dataclasses.field(
        default_factory=lambda: TrainConfig(epochs=4, batch_size=32, learning_rate=0.05)
    )
    crop: int = 4
    """Padding of the random crop of training images, in pixels."""
    flip: float = 0.0
    """Probability of mirroring them left to right."""
    seeds: int = 5
    """Networks, each looked at before and after its training."""
    images: int = 500
    """Test images over which units and similarity are measured."""
    probe_images: int = 2000
    """Training images that probes are fitted to."""
    cells: int = 2
    """Probes read the means of a map over this many by this many cells."""
    top: int = 9
    """Images that make a unit answer most."""
    out: Path | None = None
    """The run directory (by default runs/features/, under a name that follows from the options)."""


PAPER = Config(
    data=DataConfig(name="cifar10"),
    network=NetworkConfig.of("resnet20"),
    train=TrainConfig(epochs=164, batch_size=128, learning_rate=0.1, weight_decay=1e-4),
    flip=0.5,
    images=2000,
    probe_images=20_000,
    seeds=10,
)
"""He et al. 2016, section 4.2: ResNet-20 with its training, but for a cosine in place of divisions by 10. Kornblith et
al. 2019 compare ten networks of one architecture."""


def run(config: Config) -> Path:
    """Train and measure the networks, print the table, write it and the figures, and return the run directory."""
    _check(config)
    runtime.configure()
    with open_run("features", config, out=config.out, grows=GROWS) as directory:
        with Progress(2 + 2 * config.seeds) as progress:
            dataset = load_images(config.data, progress)
            check_moves(dataset, crop=config.crop)
            for name, split in (("images", "test"), ("probe_images", "train")):
                if (asked := getattr(config, name)) > (there := len(getattr(dataset, split).images)):
                    raise InputError(f"{name}={asked} of {there} {split} images: give fewer")
            config.train.steps_per_epoch(len(dataset.train.images))
            model = build(config.network, dataset)
            augmentation = Augmentation(crop=config.crop, flip=config.flip)
            plan = CellPlan(CELL, model, config.train, augmentation, snapshots=(0,))
            swept = sweep(
                directory, [plan], dataset, seeds=config.seeds, first_seed=config.first_seed, progress=progress
            )
            swept.check_any()
            extent = Extent(config.images, config.probe_images, config.cells, config.top)
            found = measure_all(swept, extent, progress=progress)
        report.write(swept, found)
        return directory.path


def _check(config: Config) -> None:
    check_ranges(config)
    for name, least in (("images", 4), ("probe_images", 2)):
        if getattr(config, name) < least:
            raise InputError(f"{name}={getattr(config, name)} must be at least {least}")
    if config.top > config.images:
        raise InputError(f"top={config.top} of images={config.images}: give fewer of the first, or more of the second")
