"""Do AlexNet's two towers specialise, one in colour and one in form, and does that need the exchange between them?

Trains a small AlexNet with its two towers, with towers that meet only in the logits, and without towers; several
seeds each; and measures how colourful and how oriented each filter of the first layer is. Krizhevsky et al. 2012,
section 6.1, say of the large one that the filters of one tower are largely agnostic to colour and those of the other
largely specific to it, in every run. Here a number says how far the towers lie apart: the rank-biserial correlation of
their filters' values, without its sign; beside it stands what random halves of the same filters give, and the halves of
the network without towers. The network with two towers is also trained without and with dropout and augmentation.

    python -m experiments.alexnet                                coloured shapes of 32 pixels, no download
    python -m experiments.alexnet --data.name cifar10            CIFAR-10, from tensorflow-datasets
    python -m experiments.alexnet --preset paper                 CIFAR-10, wider and for longer, for an accelerator

Expected on the default data: towers separate in chroma, with the exchange and without, by about 0.4 in the mean over
seeds where halves by chance come to 0.19, but not in every network; halves of the network without towers do not. In so
few epochs augmentation costs a little accuracy, and dropout much of it.

The same command goes on where a killed one was. The run directory holds every filter's values, summary and figures.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from cnnjax import models, runtime
from cnnjax.data import Augmentation, DataConfig, Dataset
from cnnjax.errors import InputError
from cnnjax.runs import Cell, Progress, grid, open_run
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Engine, sweep
from cnnjax.sweep.images import check_moves, load_images
from cnnjax.sweep.network import prove_size
from cnnjax.sweep.ranges import check_named, check_ranges
from cnnjax.sweep.seeds import Seeds
from cnnjax.training import TrainConfig
from experiments.alexnet import report

TAKES = "about ten minutes of processor time"

Kind = Literal["two_towers", "no_exchange", "one_tower"]
Regularization = Literal["none", "dropout", "augmentation", "both"]

GROWS = ("seeds", "kinds", "regularizations")
"""Options of which a run may get more: it keeps what stands."""


@dataclasses.dataclass(frozen=True)
class Config(Seeds):
    """Options of the alexnet experiment."""

    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(name="coloured_shapes"))
    kinds: tuple[Kind, ...] = ("two_towers", "no_exchange", "one_tower")
    """Networks: the paper's; towers that meet only in the logits; every map reads every map before it."""
    regularizations: tuple[Regularization, ...] = ("none", "dropout", "augmentation", "both")
    """How two_towers is trained beside `regularization`; may be empty."""
    regularization: Regularization = "augmentation"
    """How the kinds are trained that are compared."""
    widths: tuple[int, int, int, int, int] = (24, 32, 48, 48, 32)
    """Maps of the five convolutions, of both towers together."""
    kernel_sizes: tuple[int, int, int, int, int] = (7, 5, 3, 3, 3)
    """Sides of their windows, in pixels of their input."""
    stem_stride: int = 2
    """Stride of the first."""
    dense_widths: tuple[int, int] = (192, 192)
    """Units of the two dense layers, of both towers together."""
    dropout: float = 0.5
    """Probability of a dense unit to be left out, where dropout is on."""
    crop: int = 4
    """Padding of the random crop in pixels, where augmentation is on."""
    flip: float = 0.5
    """Probability of mirroring left to right, where augmentation is on."""
    train: TrainConfig = dataclasses.field(
        default_factory=lambda: TrainConfig(epochs=5, batch_size=32, learning_rate=0.03)
    )
    splits: int = 9_999
    """Random splits of the filters of each network."""
    engine: Engine = "process"
    """Where cells are computed: in this process, or on the Ray cluster that runs here (extra `cluster`)."""
    out: Path | None = None
    """The run directory (by default runs/alexnet/, under a name that follows from the options)."""


PAPER = Config(
    data=DataConfig(name="cifar10"),
    regularization="both",
    widths=(48, 128, 192, 192, 128),
    kernel_sizes=(5, 5, 3, 3, 3),
    stem_stride=1,
    dense_widths=(512, 512),
    train=TrainConfig(epochs=90, batch_size=128, learning_rate=0.01),
    seeds=10,
)
"""Krizhevsky et al. 2012, section 5: 90 passes, batches of 128, rate 0.01, momentum 0.9, weight decay 0.0005, dropout
and augmentation; on CIFAR-10 with half the maps (`models.alexnet_small`), a cosine in place of three divisions by 10,
and without the change of the light's colour."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What distinguishes one cell from another."""

    network: Kind = "two_towers"
    regularization: Regularization = "augmentation"


def run(config: Config) -> Path:
    """Train every cell, measure the filters, print the tables, write them and the figures, return the run directory."""
    _check(config)
    runtime.configure()
    cells = _cells(config)
    with open_run("alexnet", config, out=config.out, grows=GROWS) as directory:
        with Progress(len(cells)) as progress:
            dataset = load_images(config.data, progress)
            check_moves(dataset, crop=config.crop)
            if (channels := dataset.train.images.shape[-1]) != 3:
                raise InputError(
                    f"the images of {dataset.name} have {channels} channel: the colour of filters needs red, green and "
                    "blue; use data.name coloured_shapes, or cifar10"
                )
            config.train.steps_per_epoch(len(dataset.train.images))
            plans = [_plan(cell, config, dataset) for cell in cells]
            swept = sweep(
                directory,
                plans,
                dataset,
                seeds=config.seeds,
                progress=progress,
                engine=config.engine,
                first_seed=config.first_seed,
            )
        report.write(swept, {cell.name: dataclasses.asdict(cell.config) for cell in cells}, splits=config.splits)
        return directory.path


def _cells(config: Config) -> list[Cell[Treatment]]:
    """The kinds under one training, then the network with two towers under the others."""
    axes = [{"network": config.kinds, "regularization": (config.regularization,)}]
    if others := [name for name in config.regularizations if name != config.regularization]:
        axes.append({"network": ("two_towers",), "regularization": others})
    return [cell for each in axes for cell in grid(Treatment(), each)]


def _plan(cell: Cell[Treatment], config: Config, dataset: Dataset) -> CellPlan:
    what = cell.config
    model = models.alexnet_small(
        num_classes=len(dataset.class_names),
        widths=config.widths,
        kernel_sizes=config.kernel_sizes,
        stem_stride=config.stem_stride,
        dense_widths=config.dense_widths,
        towers=1 if what.network == "one_tower" else 2,
        exchange=what.network != "no_exchange",
        dropout=config.dropout if what.regularization in ("dropout", "both") else 0.0,
        mean=dataset.mean,
        std=dataset.std,
    )
    prove_size(model, dataset, name=what.network)
    augmented = what.regularization in ("augmentation", "both")
    augmentation = Augmentation(crop=config.crop, flip=config.flip) if augmented else Augmentation()
    return CellPlan(cell.name, model, config.train, augmentation)


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "kinds")
