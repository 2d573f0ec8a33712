"""What do locality and the sharing of weights buy: how many images does a network need that has them or lacks them?

Four networks learn from few to all images of a dataset: a multilayer perceptron (MLP) has neither prior, a locally
connected network has locality, a convolutional network (CNN) has locality and shared weights, and a vision transformer
(ViT) shares its weights over patches but must learn which belong together. Each learns again from the same images with
their pixels in another, fixed order, which leaves all information and takes every prior of place away. And, with all
images, at other widths: accuracy against parameters and multiply-adds.

    python -m experiments.data_efficiency                      digits on a canvas of 16 pixels, no download
    python -m experiments.data_efficiency --data.name mnist --data.size 20 --data.canvas 28 --move 4 \
        --images 10 100 1000 10000 --train.epochs 1
    python -m experiments.data_efficiency --preset paper       CIFAR-10 at 32 pixels, 10 to 50,000 images

Digits in the middle of the image are easy for a network that knows every pixel by its place, so each image is moved,
once and for all, to a place of its own.

Every training takes equally many steps with batches of one size, however few its images are: an epoch goes over as many
images as the whole training set has, repeated as often as needed. So a network that learns from few images sees each
more often, but is not trained for a shorter time. Images are drawn anew for each draw, as evenly over the classes as
their number allows, the same for every network; a draw also fixes initialisation and order. All networks have one
recipe; none is tuned to the number of images. Pixels are standardised by mean and deviation of the whole set.

Expected: the MLP does not notice that pixels change places, for its first layer's weights are drawn alike for every
pixel, so that another order of them is a training that is just as likely. The CNN leads, the more the more images there
are, and loses that lead when pixels change places. The ViT needs more images and steps than any of these.

The same command goes on where a killed one was. The run directory holds every prediction, the summary and the figures.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import flax.linen as nn
import numpy as np

from cnnjax import runtime
from cnnjax.data import DataConfig, Dataset, Split
from cnnjax.errors import InputError
from cnnjax.runs import Cell, Progress, grid, open_run
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Engine, sweep
from cnnjax.sweep.images import check_moves, load_images
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.ranges import check_named, check_ranges
from cnnjax.sweep.traced import cost_of
from cnnjax.training import TrainConfig
from experiments.data_efficiency import report
from experiments.data_efficiency.local_network import LocalNetwork
from experiments.data_efficiency.report import Costs

TAKES = "about twelve minutes of processor time"

Kind = Literal["mlp", "local", "cnn", "vit"]

GROWS = ("draws", "networks", "images", "widths")
"""Options of which a run may get more: it keeps what stands."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the data efficiency experiment."""

    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(size=10, canvas=16))
    move: int = 3
    """Every image, of training and test, is moved once by at most so many pixels up or down and left or right."""
    networks: tuple[Kind, ...] = ("mlp", "local", "cnn", "vit")
    """The networks to compare; local has the widths of cnn, and weights of its own at every place."""
    mlp: NetworkConfig = dataclasses.field(default_factory=lambda: NetworkConfig.of("mlp", widths=(64, 64)))
    cnn: NetworkConfig = dataclasses.field(
        default_factory=lambda: NetworkConfig.of("all_conv", widths=(16, 32), depth=1)
    )
    vit: NetworkConfig = dataclasses.field(default_factory=lambda: NetworkConfig.of("vit", width=32, depth=2, heads=4))
    images: tuple[int, ...] = (50, 250)
    """Numbers of training images, beside all of them."""
    widths: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Factors of the widths at which networks learn from all images; 1 is always among them."""
    train: TrainConfig = dataclasses.field(
        default_factory=lambda: TrainConfig(
            examples=12_000, batch_size=32, optimizer="adamw", learning_rate=3e-3, weight_decay=0.01
        )
    )
    draws: int = 5
    """Draws of images, each with a network of its own."""
    first_draw: int = 0
    """The first of them, and the seed of its network; the others follow it."""
    engine: Engine = "process"
    """Where cells are computed: in this process, or on the Ray cluster that runs here (extra `cluster`)."""
    out: Path | None = None
    """The run directory (by default runs/data_efficiency/, under a name that follows from the options)."""


PAPER = Config(
    data=DataConfig(name="cifar10"),
    move=0,
    mlp=NetworkConfig.of("mlp", widths=(512, 512)),
    cnn=NetworkConfig.of("all_conv", widths=(64, 128, 256), depth=1),
    vit=NetworkConfig.of("vit", width=128, depth=6, heads=4),
    images=(10, 100, 1000, 10_000),
    train=TrainConfig(epochs=50, batch_size=128, optimizer="adamw", learning_rate=1e-3, weight_decay=0.05),
    draws=5,
)
"""CIFAR-10 at full size, for an accelerator. The question is a textbook's; no paper fixes a recipe for it."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What distinguishes one cell from another."""

    network: Kind = "cnn"
    width: float = 1.0
    images: int = 1
    pixels: Literal["ordered", "permuted"] = "ordered"
    draw: int = 0


@dataclasses.dataclass(frozen=True)
class Fewer:
    """What a cell makes of the dataset: so many of its images, repeated to fill an epoch; pixels as they are or not."""

    images: int
    draw: int
    permuted: bool

    def __call__(self, dataset: Dataset) -> Dataset:
        train, test = dataset.train, dataset.test
        chosen = np.resize(balanced(train.labels, self.images, self.draw), len(train.labels))
        found = (Split(train.images[chosen], train.labels[chosen]), Split(test.images, test.labels))
        if self.permuted:
            found = tuple(Split(permute(split.array), split.labels) for split in found)
        return dataclasses.replace(dataset, train=found[0], test=found[1])


def balanced(labels: np.ndarray, count: int, draw: int) -> np.ndarray:
    """Indices of `count` images, of every class as many as of any other while there are enough, at random for `draw`.

    A smaller draw of the same number is the beginning of a larger one; the largest is all images.
    """
    random = np.random.default_rng((draw, 0))
    shuffled = random.permutation(len(labels))
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        mine = shuffled[labels[shuffled] == label]
        rank[mine] = np.arange(len(mine))
    return shuffled[np.argsort(rank[shuffled], kind="stable")][:count]


def permute(images: np.ndarray) -> np.ndarray:
    """Images `(n, height, width, channels)` with their pixels in another order, the same for all of one size."""
    n, height, width, channels = images.shape
    order = np.random.default_rng(0).permutation(height * width)
    return images.reshape(n, height * width, channels)[:, order].reshape(images.shape)


def run(config: Config) -> Path:
    """Train and test every cell, print the tables, write summary and figures, and return the run directory."""
    _check(config)
    runtime.configure()
    with open_run("data_efficiency", config, out=config.out, grows=GROWS) as directory:
        with Progress(len(treatments(config, max(config.images) + 1))) as progress:
            dataset = _load(config, progress)
            config.train.steps_per_epoch(len(dataset.train.images))
            cells = treatments(config, len(dataset.train.images))
            models = {key: network(config, *key, dataset) for key in dict.fromkeys(map(_key, cells))}
            plans = [_plan(cell, models[_key(cell)], config.train) for cell in cells]
            swept = sweep(directory, plans, dataset, seeds=1, progress=progress, engine=config.engine)
        costs: dict[tuple[str, float], Costs] = {key: _costs(model, dataset) for key, model in models.items()}
        about = {cell.name: cell.config for cell in cells}
        report.write(swept, about, costs)
        return directory.path


def treatments(config: Config, all_images: int) -> list[Cell[Treatment]]:
    """Every network at every number of images with its pixels in either order, then other widths at all images."""
    if wrong := [count for count in config.images if count >= all_images]:
        raise InputError(f"images={wrong[0]} of {all_images} training images: give fewer; all of them are always there")
    draws = range(config.first_draw, config.first_draw + config.draws)
    images = {"images": (*config.images, all_images), "pixels": ("ordered", "permuted")}
    few = grid(Treatment(), {"network": config.networks, **images, "draw": draws})
    others = [width for width in config.widths if width != 1]
    wide = {"network": config.networks, "width": others, "images": (all_images,), "draw": draws}
    return [*few, *(grid(Treatment(), wide) if others else [])]


def move(images: np.ndarray, farthest: int, *, seed: int) -> np.ndarray:
    """Every image (n, height, width, channels) at a place of its own: moved by up to `farthest` pixels along each axis.

    What leaves one side comes back at the other, so the images' margins must be that wide and of one colour.
    """
    offsets = np.random.default_rng(seed).integers(-farthest, farthest, (len(images), 2), endpoint=True)
    return np.stack([np.roll(image, offset, (0, 1)) for image, offset in zip(images, offsets, strict=True)])


def network(config: Config, kind: Kind, width: float, dataset: Dataset) -> nn.Module:
    """The network of that kind with its widths times `width`; raises `InputError` where it cannot be built."""

    def scaled(number: int) -> int:
        return max(1, round(width * number))

    if kind == "vit":
        return build(config.vit.replace(width=scaled(config.vit.width)), dataset)
    chosen = config.mlp if kind == "mlp" else config.cnn
    widths = tuple(map(scaled, chosen.widths))
    if kind == "local":
        return LocalNetwork(len(dataset.class_names), widths, dataset.mean, dataset.std)
    return build(chosen.replace(widths=widths), dataset)


def _load(config: Config, progress: Progress) -> Dataset:
    dataset = load_images(config.data, progress, max_shift=config.move)
    check_moves(dataset, move=config.move)
    if not config.move:
        return dataset
    if dataset.margin < config.move:
        raise InputError(f"move={config.move} needs empty borders as wide: give data.canvas, or --move 0")
    train, test = (
        Split(move(split.array, config.move, seed=seed), split.labels)
        for seed, split in enumerate((dataset.train, dataset.test))
    )
    note = f"{dataset.note}; each moved by up to {config.move} pixels along each axis"
    return dataclasses.replace(dataset, train=train, test=test, margin=dataset.margin - config.move, note=note)


def _key(cell: Cell[Treatment]) -> tuple[Kind, float]:
    return cell.config.network, cell.config.width


def _plan(cell: Cell[Treatment], model: nn.Module, train: TrainConfig) -> CellPlan:
    what = cell.config
    change = Fewer(what.images, what.draw, what.pixels == "permuted")
    return CellPlan(cell.name, model, train, change=change, seeds=(what.draw,))


def _costs(model: nn.Module, dataset: Dataset) -> Costs:
    cost = cost_of(model, dataset.train.images.shape[1:])
    return Costs(cost.parameters, cost.multiply_adds)


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "networks", "images")
    if min(config.widths, default=1) <= 0:
        raise InputError(f"widths={config.widths} must be positive")
    for name, kinds in (("mlp", ("mlp",)), ("cnn", ("all_conv", "resnet")), ("vit", ("vit",))):
        if getattr(config, name).name not in kinds and ":" not in getattr(config, name).name:
            raise InputError(f"{name}.name={getattr(config, name).name} must be {' or '.join(kinds)}")
