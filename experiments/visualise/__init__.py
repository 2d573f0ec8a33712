"""What do the units of a network respond to, and how far can the pictures of it be believed?

Zeiler & Fergus's workflow on one network: for each map of a layer its nine strongest units over all test images, each
mapped back to pixels beside the patch that it sees; the same units through training; first-layer filters; occlusion;
features under translation, scale and rotation. And beside the pictures what they cannot show: how much of them
survives when the weights are drawn anew, how much of them is a copy of the image, whether they find what decides the
class. Figures, tables and one self-contained page, `page.html`.

    python -m experiments.visualise                                   trains a small network on digits first
    python -m experiments.visualise --data.name mnist
    python -m experiments.visualise --run runs/augmentation/ID --cell augmentation=none --layer stage2_conv1
    python -m experiments.visualise --weights resnet34.safetensors --model resnet34 --images photos

A run is that of any experiment whose cells keep `weights.safetensors`; weights from elsewhere are files with the names
of torchvision (`models.load_weights`).

Expected on the default data: units of later layers see and fill more of the image, and their nine strongest images are
more often of one class, and more so than those of an untrained network. Drawing the last layer anew changes the
gradient's picture altogether, and the deconvnet's and guided backpropagation's little; drawing all anew leaves a
quarter to a third of their rank correlation. The deconvnet's strongest pixel lies on what is asked for no more often
than by chance.

The page is there from the first minute, and grows with each layer. The same command goes on where a killed one was.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import analysis, runtime
from cnnjax.analysis.attribution.backward.relu_rules import Rule
from cnnjax.data import Augmentation, DataConfig
from cnnjax.door.choices import check_choice
from cnnjax.errors import InputError
from cnnjax.runs import Progress, RunDirectory, open_run
from cnnjax.sweep.cell import WEIGHTS, CellPlan
from cnnjax.sweep.cells import check_same, check_same_data, trained
from cnnjax.sweep.images import check_moves, load_images
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.ranges import check_ranges
from cnnjax.sweep.rehearsal import rehearse
from cnnjax.sweep.traced import shapes_of
from cnnjax.training import TrainConfig
from experiments.shared import kept_networks
from experiments.shared import strongest as layers_of
from experiments.shared import subject as subjects
from experiments.shared import unit_checks as checks
from experiments.shared.growing_fields import shown
from experiments.shared.subject import Images, Subject
from experiments.visualise import page, views
from experiments.visualise.found import Found

TAKES = "about two minutes on one core"

TRAINING = "training"
Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the visualisation."""

    run: Path | None = None
    """The directory of a run whose network is looked at; without it, nor weights, one is trained."""
    cell: str = ""
    """Which cell of the run; by default the first in name order."""
    seed: int = 0
    """Which network of the cell."""
    weights: Path | None = None
    """A safetensors file with the weights of a network from elsewhere; needs model and images."""
    model: str = ""
    """The network of the weights: resnet50, vgg16, alexnet or another that `models.load_weights` knows."""
    images: Path | None = None
    """A folder of images to show to the network in place of the run's test images."""
    layer: tuple[str, ...] = ()
    """The layers; by default a few whose fields grow evenly."""
    maps: int = 16
    """Maps of a layer in its montage, at even steps over those that are alive."""
    k: int = 9
    """The strongest images of each map."""
    rule: Rule = "deconvnet"
    """The backward rule at rectifiers of the projections."""
    check_images: int = 32
    """Images, the first ones, over which the checks and the invariances are measured."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    network: NetworkConfig = dataclasses.field(
        default_factory=lambda: NetworkConfig.of("all_conv", widths=(16, 32, 64), depth=1, downsample="max")
    )
    train: TrainConfig = dataclasses.field(default_factory=lambda: TrainConfig(epochs=64))
    snapshots: tuple[int, ...] = (1, 2, 5, 10, 20, 30, 40, 64)
    """Epochs at which the units are looked at, those of Zeiler & Fergus; those after the last epoch are left out."""
    crop: int = 0
    """Padding of the random crop in training, in pixels."""
    flip: float = 0.0
    """Probability of mirroring left to right in training."""
    out: Path | None = None
    """The run directory (by default runs/visualise/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Find or train the network, measure, draw, write the page, and return the run directory."""
    _check(config)
    runtime.configure()
    with open_run("visualise", config, out=config.out) as directory:
        with Progress(_count(config)) as progress:
            subject, fields = _subject(directory, config, progress)
            names = list(config.layer) or shown(fields)
            rows = np.arange(min(config.check_images, len(subject.images.pixels)))

            def kept(name: str, measure: Callable[[], Arrays]) -> Arrays:
                return directory.once(name, "arrays.safetensors", measure, progress=progress)

            options: dict[str, Any] = dict(rule=config.rule, progress=progress)
            chosen, kernel = {name: fields[name] for name in names}, views.first_kernel(subject)
            tops, pasts = {}, {}
            page.write_so_far(directory, subject, chosen, tops, pasts, kernel, rule=config.rule)
            progress.note(f"what is done is shown in {directory.path / 'page.html'}, which grows")
            for name in names:
                tops[name] = kept(
                    f"layer={name}",
                    lambda name=name: layers_of.strongest(subject, name, k=config.k, shown=config.maps, **options),
                )
                if subject.snapshots:
                    pasts[name] = kept(
                        f"past={name}", lambda name=name: layers_of.past(subject, name, tops[name], **options)
                    )
                page.write_so_far(directory, subject, chosen, tops, pasts, kernel, rule=config.rule)
            last = names[-1]
            occluded = kept("covered", lambda: views.covered(subject, rows[:3], last, config.rule, progress))
            moved = kept("invariance", lambda: views.invariance(subject, rows, names, progress))
            measured = {
                "cascade": kept("cascade", lambda: checks.cascades(subject, rows, progress)),
                "recovery": kept("recovery", lambda: checks.recoveries(subject, rows, progress)),
                "perturbation": kept("perturbation", lambda: checks.perturbations(subject, rows, last, progress)),
                "pointing": kept("pointing", lambda: checks.pointing(subject, len(rows), last, progress)),
            }
        page.write(
            directory,
            subject,
            chosen,
            Found(tops, pasts, occluded, moved, measured, kernel),
            rule=config.rule,
        )
        return directory.path


def _check(config: Config) -> None:
    check_ranges(config)
    if config.run is not None and config.weights is not None:
        raise InputError("run and weights are both given: name one network")
    if (config.weights is None) != (not config.model):
        raise InputError("weights and model go together: give --weights FILE --model resnet34, or neither")
    if config.cell and config.run is None:
        raise InputError(f"cell={config.cell!r} without a run: give --run, too")
    if config.weights is not None and not config.weights.exists():
        raise InputError(f"weights={config.weights} does not exist")
    if not config.snapshots or min(config.snapshots) < 0 or len(set(config.snapshots)) < len(config.snapshots):
        raise InputError(f"snapshots={config.snapshots} must be epochs from 0 on, each once")
    if twice := {name for name in config.layer if config.layer.count(name) > 1}:
        raise InputError(f"layer has {', '.join(sorted(twice))} more than once: give every name once")


def _count(config: Config) -> int:
    """Cells at most, for the progress."""
    layers = len(config.layer) or 5
    return (config.run is None and config.weights is None) + 2 * layers + 6


def _subject(
    directory: RunDirectory, config: Config, progress: Progress
) -> tuple[Subject, dict[str, analysis.ReceptiveField]]:
    """The network that the options name, and its layers' fields; everything that can be refused is, before training."""
    if config.run is not None:
        run = config.run.expanduser()
        subject = kept_networks.of_run(run, config.cell, config.seed, config.images, progress=progress.prepare)
    elif config.weights is not None:
        subject = kept_networks.of_weights(config.model, config.weights, config.images, progress=progress.prepare)
    else:
        return _trained(directory, config, progress)
    fields = _fields(config, subject.apply, subject.variables, subject.images)
    _check_same(directory, subject)
    return subject, fields


def _trained(
    directory: RunDirectory, config: Config, progress: Progress
) -> tuple[Subject, dict[str, analysis.ReceptiveField]]:
    dataset = load_images(config.data, progress, max_shift=config.crop)
    check_moves(dataset, crop=config.crop)
    config.train.steps_per_epoch(len(dataset.train.images))
    model = build(config.network, dataset)
    images = kept_networks.of_dataset(dataset)
    if config.images is not None:
        _, side, _, channels = images.pixels.shape
        images = kept_networks.folder_images(
            config.images, side=side, channels=channels, fit=config.data.fit, progress=progress.prepare
        )
    _, variables = shapes_of(model, images.pixels.shape[1:])
    fields = _fields(config, subjects.of_model(model), variables, images)
    check_same_data(directory, dataset)
    epochs = config.train.passes(len(dataset.train.images))
    plan = CellPlan(
        TRAINING,
        model,
        config.train,
        Augmentation(crop=config.crop, flip=config.flip),
        snapshots=tuple(epoch for epoch in config.snapshots if epoch <= epochs),
    )
    rehearse([plan], dataset, [config.seed], progress=progress)
    folder = directory.cell(TRAINING)
    if folder.has(WEIGHTS):
        progress.skip(TRAINING)
    else:
        progress.cell(TRAINING)
    trained(directory, plan, dataset, range(config.seed, config.seed + 1), progress)
    subject = kept_networks.of_cell(folder, 0, images, title=f"{dataset.name}, {epochs} epochs, seed {config.seed}")
    if config.images is not None:
        _check_same(directory, subject)
    return subject, fields


def _struct(images: Images) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *images.pixels.shape[1:]), jnp.float32)


def _fields(config: Config, apply: Any, variables: Any, images: Images) -> dict[str, analysis.ReceptiveField]:
    """The fields of the layers that are maps; raises InputError for what cannot be shown."""
    if config.k > len(images.pixels):
        raise InputError(f"k={config.k} is larger than the dataset of {len(images.pixels)} images: give at most that")
    fields = subjects.map_fields(apply, variables, images.pixels)
    for name in config.layer:
        check_choice("layer", name, fields)
    if not analysis.rectifiers(apply, variables, _struct(images)).found:
        raise InputError("this network has no rectifier, max(x, 0): the backward rules need one")
    return fields


def _check_same(directory: RunDirectory, subject: Subject) -> None:
    now = {"title": subject.title, "subject": subject.digest()}
    check_same(directory, "subject.json", now, "weights or the images")
