"""How does the learning signal change with depth, in plain and in residual networks?

Measures the gradient of the loss at every layer of He et al.'s CIFAR networks: plain and residual, with and without
batch normalisation, from shallow to deep; at the start over several seeds, and while the networks train. And, for a
plain network without normalisation, for each activation from each initialisation.

    python -m experiments.gradients                      handwritten digits of 16 pixels, no download
    python -m experiments.gradients --preset paper       He et al.'s widths and depths 8 to 110 on CIFAR-10

Expected on the default data: with batch normalisation the gradient of a plain network *grows* towards the input, by
about √(π / (π − 1)) ≈ 1.21 in each layer (Yang et al. 2019), nearly 10,000 times over 56 layers; shortcuts bring that
to 1.05, or 30 times. Without normalisation He's initialisation lets a plain network lose a few percent in each layer,
and shortcuts let the gradient grow by 2^(1/4), as the maps do: the loss explodes. Initialisations for linear layers
lose a factor of √2 in each layer of rectifiers, and more at the zeros beyond the border: the vanishing gradient. Within
a few epochs plain networks with batch normalisation learn the worse the deeper they are, residual ones do not; those
without normalisation hardly learn at this rate, or diverge.

The same command goes on where a killed one was. The run directory holds every measurement, summary and figures.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import flax.linen as nn

from cnnjax import runtime
from cnnjax.data import DataConfig, Dataset
from cnnjax.errors import InputError
from cnnjax.runs import Cell, Progress, grid, open_run
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import check_same_data
from cnnjax.sweep.images import load_images
from cnnjax.sweep.network import NetworkConfig, blocks_of, build
from cnnjax.sweep.ranges import check_named, check_ranges
from cnnjax.sweep.rehearsal import rehearse
from cnnjax.sweep.seeds import Seeds
from cnnjax.training import TrainConfig
from experiments.gradients import report
from experiments.gradients.cells import GradientPlan, measure_all
from experiments.gradients.redraw import Initialization

TAKES = "some six minutes on two cores"

GROWS = ("seeds", "train_seeds", "depths", "kinds", "norms", "train_depths", "activations", "initializations")
"""Options of which a run may get more: it keeps what stands."""

Kind = Literal["plain", "residual"]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh"]


@dataclasses.dataclass(frozen=True)
class Config(Seeds):
    """Options of the gradients experiment."""

    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(size=16, canvas=16))
    depths: tuple[int, ...] = (8, 20, 32, 56)
    """Layers of the networks that are measured at the start: 6n + 2, n blocks of two convolutions in each stage."""
    widths: tuple[int, int, int] = (8, 16, 32)
    """Channels of the three stages."""
    kinds: tuple[Kind, ...] = ("plain", "residual")
    """Networks without and with shortcuts."""
    norms: tuple[Literal["batch", "layer", "group", "none"], ...] = ("batch", "none")
    """Normalisations after each convolution."""
    images: int = 64
    """Training images over which the gradient is taken, the same each time."""
    seeds: int = 5
    """Initialisations of each network."""
    train_depths: tuple[int, ...] = (20, 32)
    """Layers of the networks that are trained, and measured after each epoch; may be empty."""
    train_seeds: int = 3
    """Trainings of each."""
    train: TrainConfig = dataclasses.field(
        default_factory=lambda: TrainConfig(epochs=3, batch_size=32, learning_rate=0.02)
    )
    activations: tuple[Activation, ...] = ("relu", "silu", "elu", "tanh")
    """Activations to compare in a plain network without normalisation; may be empty."""
    initializations: tuple[Initialization, ...] = ("he", "glorot", "lecun", "orthogonal")
    """From which initialisations; small is the normal distribution of standard deviation 0.01."""
    activation_depth: int = 20
    """Layers of that network."""
    out: Path | None = None
    """The run directory (by default runs/gradients/, under a name that follows from the options)."""

    @property
    def numbers_trained(self) -> range:
        """The seeds of the networks that are trained."""
        return range(self.first_seed, self.first_seed + self.train_seeds)


PAPER = Config(
    data=DataConfig(name="cifar10"),
    depths=(8, 20, 32, 44, 56, 110),
    widths=(16, 32, 64),
    images=256,
    train_depths=(20, 56, 110),
    train=TrainConfig(epochs=164, batch_size=128, learning_rate=0.1, weight_decay=1e-4),
    activation_depth=56,
)
"""The networks and the length of training of He et al. 2016, section 4.2, without augmentation."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What distinguishes one network from another."""

    network: Kind = "plain"
    norm: Literal["batch", "layer", "group", "none"] = "none"
    depth: int = 20
    activation: Activation = "relu"
    init: Initialization = "he"


def run(config: Config) -> Path:
    """Measure every network, print the tables, write summary and figures, and return the run directory."""
    _check(config)
    runtime.configure()
    axes = {"network": config.kinds, "norm": config.norms}
    panel = Treatment(depth=config.activation_depth)
    start = grid(Treatment(), {**axes, "depth": config.depths})
    training = grid(Treatment(), {**axes, "depth": config.train_depths}) if config.train_depths else []
    activations = (
        grid(panel, {"activation": config.activations, "init": config.initializations}) if config.activations else []
    )
    with open_run("gradients", config, out=config.out, grows=GROWS) as directory:
        with Progress(len(start) + len(training) + len(activations)) as progress:
            dataset = load_images(config.data, progress)
            if config.images > len(dataset.train.images):
                raise InputError(f"images={config.images} of {len(dataset.train.images)} training images: give fewer")
            config.train.steps_per_epoch(len(dataset.train.images))
            channels = (dataset.train.images.shape[-1], *config.widths)
            if "orthogonal" in config.initializations and config.activations and list(channels) != sorted(channels):
                raise InputError(
                    f"orthogonal kernels cannot lead to fewer channels: widths={config.widths} must not fall from the "
                    f"images' {channels[0]}; or leave orthogonal out of initializations"
                )
            plans = [
                *(_plan("start", cell, config, dataset, train=None) for cell in start),
                *(_plan("activations", cell, config, dataset, train=None) for cell in activations),
                *(_plan("training", cell, config, dataset, train=config.train) for cell in training),
            ]
            trained = [CellPlan(p.name, p.model, p.train, seeds=p.numbers) for p in plans if p.train is not None]
            if trained:
                rehearse(trained, dataset, (), progress=progress)
            check_same_data(directory, dataset)
            results = measure_all(directory, plans, dataset, images=config.images, progress=progress)
        report.write(directory, plans, results, dataset)
        return directory.path


def _plan(
    question: Literal["start", "training", "activations"],
    cell: Cell[Treatment],
    config: Config,
    dataset: Dataset,
    *,
    train: TrainConfig | None,
) -> GradientPlan:
    what = cell.config
    model: nn.Module = build(
        NetworkConfig.of(
            "resnet",
            widths=config.widths,
            depth=blocks_of(what.depth),
            norm=what.norm,
            activation=what.activation,
            residual=what.network == "residual",
        ),
        dataset,
    )
    return GradientPlan(
        name=f"{question},{cell.name}",
        question=question,
        settings=dataclasses.asdict(what),
        model=model,
        initialization=what.init,
        numbers=config.numbers if train is None else config.numbers_trained,
        train=train,
    )


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "depths", "kinds", "norms", *(["initializations"] if config.activations else []))
    for name, depths in (
        ("depths", config.depths),
        ("train_depths", config.train_depths),
        ("activation_depth", (config.activation_depth,)),
    ):
        for depth in depths:
            blocks_of(depth, option=name)
