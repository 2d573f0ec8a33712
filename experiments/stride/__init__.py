"""What does the way a network halves its maps do to its accuracy and to its invariance to shifts?

Trains a small network for each way to downsample (a stride, maximum, average or blur pooling, polyphase sampling, fixed
or learned), each padding and each augmentation, several seeds each; measures every one under all shifts of up to a few
pixels, filled in three ways, and under shifts by parts of a pixel; and splits the change of its scores under a shift
into aliasing, border and content. Tells what it costs to replace pooling by a stride (Springenberg et al. 2015).

    python -m experiments.stride                     handwritten digits of 16 pixels, no download: 24 cells
    python -m experiments.stride --preset grid       all four paddings and three augmentations: 72 cells
    python -m experiments.stride --preset paper      ResNet-18 on CIFAR-10, the recipe of adaptive polyphase sampling

Expected on the default data: polyphase sampling with circular padding answers every circular shift alike, without an
exception, as it does by construction; its other shifts gain less. Under circular padding no change is the border's,
under zero padding much is. A stride in place of the pool saves multiply-adds.

The "paper" preset's published results, second-hand, as accuracy / consistency of zero fill / of circular fill: strided
91.57 / 87.41 / 89.92, blur-pool 93.29 / 90.54 / 97.83, adaptive polyphase 94.07 / 92.74 / 100, learnable polyphase
94.45 / 93.61 / 100; shifts within ±4 of CIFAR-10. There, weight decay leaves out biases and scales, momentum is
Nesterov's, and every image meets every shift, so that consistencies are not quite of the same pairs.

Polyphase sampling is exact on maps that its stride divides; with "valid" padding few sizes make such: those of "grid".
The same command goes on where a killed one was. The run directory holds every prediction, the summary and the figures.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from cnnjax import runtime
from cnnjax.data import Augmentation, DataConfig, Dataset
from cnnjax.errors import InputError
from cnnjax.layers import Downsample
from cnnjax.runs import Cell, Progress, grid, open_run
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Engine, sweep
from cnnjax.sweep.images import check_moves, load_images
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.protocol import ProtocolConfig
from cnnjax.sweep.ranges import check_named, check_ranges
from cnnjax.sweep.seeds import Seeds
from cnnjax.training import TrainConfig
from experiments.stride import report
from experiments.stride.cells import StridePlan, measure_terms

TAKES = "about seven minutes on one core"

Padding = Literal["same", "circular", "reflect", "valid"]
Training = Literal["none", "crop", "shift"]

GROWS = ("seeds", "downsamples", "paddings", "augmentations")
"""Options of which a run may get more: it keeps what stands."""


@dataclasses.dataclass(frozen=True)
class Config(Seeds):
    """Options of the stride experiment."""

    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(size=16, canvas=16))
    network: NetworkConfig = dataclasses.field(
        default_factory=lambda: NetworkConfig.of("all_conv", widths=(8, 16), depth=1)
    )
    downsamples: tuple[Downsample, ...] = ("stride", "max", "average", "blur", "polyphase", "learned_polyphase")
    """How stages shrink their maps; in place of network.downsample."""
    paddings: tuple[Padding, ...] = ("same", "circular")
    """What convolutions see beyond the border: zeros (same), and so on; in place of network.padding."""
    augmentations: tuple[Training, ...] = ("none", "crop")
    """Training images as they are, cropped at random after padding, or shifted circularly at random."""
    farthest: int = 2
    """How far crop and shift move a training image at most, in pixels."""
    flip: float = 0.0
    """Probability of mirroring a training image left to right, under every augmentation."""
    train: TrainConfig = dataclasses.field(default_factory=lambda: TrainConfig(epochs=10))
    protocol: ProtocolConfig = dataclasses.field(
        default_factory=lambda: ProtocolConfig(
            max_shift=2, orbits=("shift_zero", "shift_circular", "shift_crop", "shift_subpixel")
        )
    )
    terms_shift: tuple[int, int] = (1, 1)
    """The shift, down and right in pixels with zeros coming in, whose effect on the scores is split."""
    terms_images: int = 64
    """Test images over which it is."""
    seeds: int = 3
    """Networks in each cell."""
    engine: Engine = "process"
    """Where cells are computed: in this process, or on the Ray cluster that runs here (extra `cluster`)."""
    out: Path | None = None
    """The run directory (by default runs/stride/, under a name that follows from the options)."""


GRID = Config(
    data=DataConfig(size=24, canvas=24),
    network=NetworkConfig.of("all_conv", widths=(8, 16), depth=1, stem="3x3"),
    paddings=("same", "circular", "reflect", "valid"),
    augmentations=("none", "crop", "shift"),
    seeds=5,
)
"""With a stem and 24 pixels all maps before a pool are even, with every padding and under the protocol's crops."""

PAPER = Config(
    data=DataConfig(name="cifar10"),
    network=NetworkConfig.of("resnet", widths=(64, 128, 256, 512), depth=2, shortcut="B"),
    downsamples=("stride", "blur", "polyphase", "learned_polyphase"),
    paddings=("circular",),
    augmentations=("none",),
    flip=0.5,
    train=TrainConfig(
        epochs=250,
        batch_size=256,
        learning_rate=0.1,
        schedule="steps",
        drops=(0.4, 0.8),
        warmup=0.0,
        weight_decay=5e-4,
    ),
    protocol=ProtocolConfig(
        max_shift=4, images=10_000, orbits=("shift_zero", "shift_circular", "shift_crop", "shift_subpixel")
    ),
    terms_images=256,
    seeds=5,
)
"""Chaman & Dokmanić 2021: SGD at 0.1, a tenth after every 100 of 250 epochs, batches of 256, mirrored images."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What distinguishes one cell from another."""

    downsample: Downsample = "stride"
    padding: Padding = "same"
    augmentation: Training = "none"


def run(config: Config) -> Path:
    """Train and measure every cell, print the tables, write summary and figures, and return the run directory."""
    _check(config)
    runtime.configure()
    axes = {"padding": config.paddings, "downsample": config.downsamples, "augmentation": config.augmentations}
    cells = grid(Treatment(), axes)
    with open_run("stride", config, out=config.out, grows=GROWS) as directory:
        with Progress(2 * len(cells)) as progress:
            dataset = load_images(config.data, progress)
            check_moves(dataset, farthest=config.farthest)
            if config.terms_images > (count := len(dataset.test.images)):
                raise InputError(f"terms_images={config.terms_images} of {count} test images: give fewer")
            config.train.steps_per_epoch(len(dataset.train.images))
            side = min(dataset.test.images.shape[1:3])
            if max(map(abs, config.terms_shift)) >= side:
                raise InputError(f"terms_shift={config.terms_shift} moves images of {side} pixels out of sight")
            plans = [_plan(cell, config, dataset) for cell in cells]
            options: dict[str, Any] = dict(
                seeds=config.seeds, first_seed=config.first_seed, progress=progress, engine=config.engine
            )
            swept = sweep(directory, [plan.cell for plan in plans], dataset, config.protocol, **options)
            terms = measure_terms(swept, shift=config.terms_shift, images=config.terms_images, progress=progress)
        report.write(swept, plans, terms)
        return directory.path


def _plan(cell: Cell[Treatment], config: Config, dataset: Dataset) -> StridePlan:
    what = cell.config
    network = config.network.replace(downsample=what.downsample, padding=what.padding)
    augmentation = Augmentation(
        crop=config.farthest if what.augmentation == "crop" else 0,
        shift=config.farthest if what.augmentation == "shift" else 0,
        flip=config.flip,
    )
    plan = CellPlan(cell.name, build(network, dataset), config.train, augmentation)
    return StridePlan(plan, what.downsample, what.padding, what.augmentation)


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "downsamples", "paddings", "augmentations")
    varied = {"downsample": config.downsamples[0], "padding": config.paddings[0]}
    config.network.replace(**varied)  # raises for a network without maps
    own = NetworkConfig.of(config.network.name)
    for name in varied:
        if getattr(config.network, name) != getattr(own, name):
            raise InputError(f"network.{name} is varied here: name what to compare with --{name}s")
    if not any(config.terms_shift):
        raise InputError(f"terms_shift={config.terms_shift} moves nothing: give a shift of a pixel at least")
    if "rotation" in config.protocol.orbits:
        raise InputError("protocol.orbits has rotation: this experiment is about shifts")
