"""What happens to the answers of a network when its image moves by parts of a pixel?

Trains a small network for each way to halve its maps: a stride, maximum, average and blur pooling, polyphase sampling,
fixed or learned, and an ideal low pass (`layers.Pool`); the latter with rectifiers at the pixels, then with
nonlinearities that do not alias either (`ops.alias_free`), a smooth one and a square. Measures accuracy, consistency
and worst case under circular shifts by whole, half and quarter pixels, and what a training step costs. Circular padding
is what makes polyphase and alias-free networks exact: some are also trained with zeros at the border.

    python -m experiments.subpixel                       handwritten digits of 16 pixels, no download
    python -m experiments.subpixel --preset cifar10      10,000 images of CIFAR-10, three stages, 3 seeds
    python -m experiments.subpixel --data.name mnist     any dataset

Expected on the default data: with circular padding polyphase sampling answers every whole shift alike, but 5 to 6 % of
the others otherwise; alias-free networks answer all alike, the one with the square by construction, and take about
three times as long. With zeros at the border neither does.

Published (XCiT-Nano on ImageNet; Michaeli & Soudry 2025, "Alias-Free ViT"), consistency under whole / half-pixel
shifts: adaptive polyphase 100 / 87.5 %, alias-free 99.2 / 98.7 %.

The same command goes on where a killed one was. The run directory holds every prediction, the summary and the figures.
"""

import dataclasses
from pathlib import Path
from typing import Any

from cnnjax import runtime
from cnnjax.analysis.transforms.orbits import MOST
from cnnjax.data import Augmentation, DataConfig, Dataset
from cnnjax.errors import InputError
from cnnjax.runs import Cell, Progress, grid, open_run
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Engine, sweep
from cnnjax.sweep.images import check_moves, load_images
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.ranges import check_named, check_ranges
from cnnjax.sweep.seeds import Seeds
from cnnjax.training import TrainConfig
from experiments.subpixel import report
from experiments.subpixel.cells import ALL, FINEST, Kind, SubpixelPlan, fields, measure_shifts, time_steps

TAKES = "about four minutes on two cores"

VARIED = {"downsample": "networks", "activation": "networks", "padding": "zeros"}
"""Fields of the network that its kinds set, and the option that names these."""

GROWS = ("seeds", "networks", "zeros")
"""Options of which a run may get more: it keeps what stands."""


@dataclasses.dataclass(frozen=True)
class Config(Seeds):
    """Options of the sub-pixel experiment."""

    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(size=16, canvas=16))
    network: NetworkConfig = dataclasses.field(
        default_factory=lambda: NetworkConfig.of("all_conv", widths=(8, 16), depth=1)
    )
    networks: tuple[Kind, ...] = tuple(kind for kind in ALL if kind != "alias_free_relu")
    """How maps shrink and what follows convolutions; in place of network.downsample and network.activation."""
    zeros: tuple[Kind, ...] = ("stride", "polyphase", "alias_free_gelu")
    """Which of them are also trained with zeros, not the opposite border, around their maps."""
    crop: int = 0
    """How far a training image is moved at random at most, in pixels, with zeros coming in."""
    flip: float = 0.0
    """Probability of mirroring a training image left to right."""
    train: TrainConfig = dataclasses.field(default_factory=lambda: TrainConfig(epochs=20))
    max_shift: int = 2
    """Farthest shift along either axis, in pixels; every multiple of a quarter up to it is measured."""
    images: int = 1000
    """Test images that meet every shift; plain accuracy is over all test images."""
    engine: Engine = "process"
    """Where cells are computed: in this process, or on the Ray cluster that runs here (extra `cluster`)."""
    out: Path | None = None
    """The run directory (by default runs/subpixel/, under a name that follows from the options)."""


CIFAR10 = Config(
    data=DataConfig(name="cifar10", size=32, canvas=32, train_images=10_000),
    network=NetworkConfig.of("all_conv", widths=(8, 16, 32), depth=1),
    networks=("stride", "blur", "polyphase", "alias_free_gelu", "alias_free_quadratic"),
    zeros=(),
    flip=0.5,
    train=TrainConfig(epochs=5),
    images=300,
    seeds=3,
)
"""A look at the pattern in minutes, not at what CIFAR-10 allows."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What distinguishes one cell from another."""

    padding: str = "circular"
    network: Kind = "stride"


def run(config: Config) -> Path:
    """Train and measure every cell, print the tables, write summary and figures, and return the run directory."""
    _check(config)
    runtime.configure()
    cells = grid(Treatment(), {"padding": ("circular",), "network": config.networks})
    if config.zeros:
        cells += grid(Treatment(), {"padding": ("same",), "network": config.zeros})
    with open_run("subpixel", config, out=config.out, grows=GROWS) as directory:
        with Progress(2 * len(cells) + 1) as progress:
            dataset = load_images(config.data, progress)
            check_moves(dataset, crop=config.crop, max_shift=config.max_shift)
            config.train.steps_per_epoch(len(dataset.train.images))
            plans = [_plan(cell, config, dataset) for cell in cells]
            options: dict[str, Any] = dict(
                seeds=config.seeds, first_seed=config.first_seed, progress=progress, engine=config.engine
            )
            swept = sweep(directory, [plan.cell for plan in plans], dataset, **options)
            moved = measure_shifts(swept, max_shift=config.max_shift, images=config.images, progress=progress)
            times = time_steps(swept, plans, progress=progress)
        report.write(swept, plans, moved, times, max_shift=config.max_shift)
        return directory.path


def _plan(cell: Cell[Treatment], config: Config, dataset: Dataset) -> SubpixelPlan:
    what = cell.config
    network = config.network.replace(padding=what.padding, **fields(what.network))
    augmentation = Augmentation(crop=config.crop, flip=config.flip)
    plan = CellPlan(cell.name, build(network, dataset), config.train, augmentation)
    return SubpixelPlan(plan, what.network, what.padding)


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "networks")
    config.network.replace(downsample="stride", activation="relu", padding="same")  # raises for one without maps
    if (count := (FINEST * config.max_shift + 1) ** 2 - 1) > MOST:
        raise InputError(f"max_shift={config.max_shift} makes {count:,} shifts, more than {MOST:,}: give at most 24")
    own = NetworkConfig.of(config.network.name)
    for name, option in VARIED.items():
        if getattr(config.network, name) != getattr(own, name):
            raise InputError(f"network.{name} is varied here: name what to compare with --{option}")
