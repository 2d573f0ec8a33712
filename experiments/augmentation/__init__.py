"""How invariant to translation and rotation does a convolutional network become when its training images are augmented?

Trains a small network under each of: no augmentation, random crops (translation), random rotation, and both; several
seeds each; and measures every network under the invariance protocol: all shifts up to a few pixels, all round the
circle, with accuracy, worst case and consistency.

    python -m experiments.augmentation                                real handwritten digits, no download
    python -m experiments.augmentation --data.name mnist              MNIST, from tensorflow-datasets
    python -m experiments.augmentation --data.name folder --data.data-dir photos --data.size 32
    python -m experiments.augmentation --preset architecture          invariance from data, or by construction?
    python -m experiments.augmentation --preset paper                 the same with All-CNN-C's recipe on CIFAR-10

The strength of augmentation, the depth, the way to downsample and the architecture can be varied too; a table then says
what each network costs, and how accurate it is inside and outside the range of transforms that its training showed.
"architecture" pits augmentation against group convolutions (p4, p4m; Cohen & Welling 2016) and circular polyphase
sampling (Chaman & Dokmanić 2021), with about as many parameters each, in four minutes of one core: p4 keeps outside the
trained range what the plain network loses there, for more multiply-adds; polyphase sampling needs no shifted image.

Expected on the default data: without augmentation, accuracy collapses under rotation and, less, under shifts; with
rotations it recovers; crops flatten the accuracy over translations; both together do both, for twice the epochs.

The same command goes on where a killed one was. The run directory holds the configuration, every prediction, the
summary and the figures.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any, Literal, get_args

from cnnjax import runtime
from cnnjax.data import Augmentation, DataConfig, Dataset, apply_augmentation
from cnnjax.door.choices import check_choice
from cnnjax.errors import InputError
from cnnjax.layers import Downsample
from cnnjax.runs import Cell, Progress, grid, open_run
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Engine, sweep
from cnnjax.sweep.images import check_moves, load_images
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.own_augmentation import check_augmentation, own_augmentation
from cnnjax.sweep.protocol import ProtocolConfig
from cnnjax.sweep.ranges import check_named, check_ranges
from cnnjax.sweep.seeds import Seeds
from cnnjax.training import TrainConfig
from experiments.augmentation import invariance_report, reach_report
from experiments.augmentation.reach_report import Reach

TAKES = "about two minutes on two cores"

Kind = Literal["none", "crop", "rotation", "both"]
Architecture = Literal["plain", "p4", "p4m", "polyphase"]


NETWORK = NetworkConfig.of("resnet", widths=(32, 64), depth=1, stem="7x7")
"""Two residual blocks behind an early pool. Of those tried on four fifths of the training digits, with the rest held
out, it fitted crops and rotations together with the fewest multiply-adds."""

GROWS = ("seeds", "augmentations", "strengths", "depths", "downsamples", "architectures")
"""Options of which a run may get more: it keeps what stands."""

ONE = ("architecture", "strength")
"""Axes that compare nothing where they have one value."""


@dataclasses.dataclass(frozen=True)
class Config(Seeds):
    """Options of the augmentation experiment."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    network: NetworkConfig = NETWORK
    train: TrainConfig = dataclasses.field(default_factory=lambda: TrainConfig(batch_size=32, label_smoothing=0.1))
    protocol: ProtocolConfig = dataclasses.field(default_factory=ProtocolConfig)
    augmentations: tuple[Kind | str, ...] = ("none", "crop", "rotation", "both")
    """The kinds of augmentation to compare; your own functions of a key and images too, as my_package.warps:elastic."""
    longer: int = 2
    """How many times the epochs networks train under both together: there is more to fit."""
    crop: int = 4
    """Padding of the random crop, in pixels."""
    rotation: float = 180.0
    """Farthest random rotation either way, in degrees."""
    flip: float = 0.0
    """Probability of mirroring left to right, under every kind of augmentation."""
    strengths: tuple[float, ...] = (1.0,)
    """Shares of crop and rotation to train with: 0.25 of 180° is ±45°."""
    depths: tuple[int, ...] = ()
    """Depths to compare, in place of network.depth; may be empty."""
    downsamples: tuple[Downsample, ...] = ()
    """Ways to downsample to compare, in place of network.downsample; may be empty."""
    architectures: tuple[Architecture, ...] = ("plain",)
    """The network as it is, as group convolutions over pooled maps, or with circular padding and polyphase sampling."""
    engine: Engine = "process"
    """Where cells are computed: in this process, or on the Ray cluster that runs here (extra `cluster`)."""
    out: Path | None = None
    """The run directory (by default runs/augmentation/, under a name that follows from the options)."""


ARCHITECTURE = Config(
    data=DataConfig(size=8, canvas=16),
    network=NetworkConfig.of("all_conv", widths=(8, 16), depth=1, downsample="max"),
    train=TrainConfig(epochs=8),
    protocol=ProtocolConfig(images=100, orbits=("shift_zero", "rotation")),
    augmentations=("none", "crop", "rotation"),
    strengths=(0.25, 1.0),
    architectures=("plain", "p4", "p4m", "polyphase"),
    seeds=3,
)
PAPER = dataclasses.replace(
    ARCHITECTURE,
    data=DataConfig(name="cifar10"),
    network=NetworkConfig.of("all_conv", downsample="max"),
    train=TrainConfig(
        epochs=350,
        batch_size=128,
        learning_rate=0.05,
        schedule="steps",
        drops=(4 / 7, 5 / 7, 6 / 7),
        weight_decay=1e-3,
    ),
    protocol=ProtocolConfig(images=10_000, orbits=("shift_zero", "rotation")),
    seeds=5,
)
"""All-CNN-C with pools, and normalisation in place of dropout: a tenth after 200, 250 and 300 of 350 epochs (section
3.2), but with a warm-up in the first 35."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What one cell trains, and what it does to the training images."""

    augmentation: str
    crop: int
    rotation: float
    flip: float
    strength: float = 1.0
    depth: int | tuple[int, ...] | None = None
    downsample: Downsample | None = None
    architecture: Architecture = "plain"

    def strengths(self) -> Augmentation:
        """The treatment as numbers: what the kind leaves out is 0."""
        return Augmentation(
            crop=round(self.strength * self.crop) if self.augmentation in ("crop", "both") else 0,
            rotation=self.strength * self.rotation if self.augmentation in ("rotation", "both") else 0.0,
            flip=self.flip,
        )

    def network(self, base: NetworkConfig) -> NetworkConfig:
        """`base` with what the treatment says of it."""
        varied = {"depth": self.depth, "downsample": self.downsample}
        network = base.replace(**{name: value for name, value in varied.items() if value is not None})
        if self.architecture == "polyphase":
            return network.replace(downsample="polyphase", padding="circular")
        if self.architecture == "plain":
            return network
        # A convolution of stride 2 turns with no map of even size; pools of 2×2 do.
        downsample = "max" if self.downsample == "stride" else self.downsample
        return network.replace(group=self.architecture, downsample=downsample)


def run(config: Config) -> Path:
    """Train and measure every cell, print the table, write summary and figures, and return the run directory."""
    _check(config)
    runtime.configure()
    cells = _cells(config)
    owns = {kind: own_augmentation(kind, "augmentations") for kind in config.augmentations if ":" in kind}
    networks = {c.config.network(config.network) for c in cells}
    grown = any(axis != "augmentation" for cell in cells for axis in cell.settings)
    with open_run("augmentation", config, out=config.out, grows=GROWS) as directory:
        with Progress(len(cells)) as progress:
            dataset = load_images(config.data, progress, max_shift=config.protocol.max_shift)
            check_moves(dataset, crop=config.crop)
            config.train.steps_per_epoch(len(dataset.train.images))
            models = {network: build(network, dataset) for network in networks}
            for place, own in owns.items():
                check_augmentation(own, place, "augmentations", dataset.train.images.shape[1:])
            plans = [
                CellPlan(
                    c.name,
                    models[c.config.network(config.network)],
                    _train(config, c, dataset),
                    c.config.strengths(),
                    augment=owns.get(c.config.augmentation, apply_augmentation),
                )
                for c in cells
            ]
            options: dict[str, Any] = dict(
                seeds=config.seeds, first_seed=config.first_seed, progress=progress, engine=config.engine
            )
            swept = sweep(directory, plans, dataset, config.protocol, **options)
        if grown:
            invariance_report.forget(directory)
            reaches = [Reach(p, c.settings, c.config.architecture) for p, c in zip(plans, cells, strict=True)]
            reach_report.write(swept, reaches)
        else:
            invariance_report.write(swept)
        return directory.path


def _train(config: Config, cell: Cell[Treatment], dataset: Dataset) -> TrainConfig:
    """The recipe of a cell: `longer` times the epochs for both augmentations together."""
    if cell.config.augmentation != "both":
        return config.train
    return dataclasses.replace(config.train, epochs=config.longer * config.train.passes(len(dataset.train.images)))


def _cells(config: Config) -> list[Cell[Treatment]]:
    treatment = Treatment(
        "none",
        config.crop,
        config.rotation,
        config.flip,
        depth=getattr(config.network, "depth", None),
        downsample=getattr(config.network, "downsample", None),
    )
    axes = {
        "architecture": config.architectures,
        "depth": config.depths,
        "downsample": config.downsamples,
        "augmentation": config.augmentations,
        "strength": config.strengths,
    }
    cells: dict[str, Cell[Treatment]] = {}
    for cell in grid(treatment, {name: values for name, values in axes.items() if values}):
        # Of no augmentation and of one's own, all strengths are the same.
        fixed = cell.config.augmentation == "none" or ":" in cell.config.augmentation
        usual = {"architecture=plain", "strength=1.0", "strength=1", *([f"strength={cell.config.strength}"] * fixed)}
        # A run that grows has others beside these, whose cells keep their names.
        name = ",".join(part for part in cell.name.split(",") if part not in usual)
        if ":" in cell.config.augmentation:  # as it was given, but for what no file is called
            name = re.sub("augmentation=[^,]*", f"augmentation={cell.config.augmentation.replace(':', '.')}", name)
        settings = {axis: value for axis, value in cell.settings.items() if axis not in ONE or len(axes[axis]) > 1}
        cells.setdefault(name, dataclasses.replace(cell, name=name, settings=settings))
    return list(cells.values())


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "augmentations", "strengths", "architectures")
    for kind in config.augmentations:
        if ":" not in kind:
            check_choice(
                "augmentations", kind, get_args(Kind), otherwise=", or a function of your own, as my.warps:elastic"
            )
    if not all(strength > 0 for strength in config.strengths):
        raise InputError(f"strengths={config.strengths} must be positive; the augmentation none is that of strength 0")
    cropped = {"crop", "both"} & set(config.augmentations) and config.crop > 0
    if cropped and any(round(strength * config.crop) == 0 for strength in config.strengths):
        raise InputError(
            f"strengths={config.strengths} of crop={config.crop} pixels leave less than one: give larger ones, or "
            "leave crop and both out of augmentations"
        )
