"""What do networks go by: shape, texture or colour?

Takes each cue away in turn from the same test images, all classes kept, and measures what networks lose: grey images
have no colour, smoothing that keeps outlines leaves no texture, shuffled patches have no shape. Then leaves one cue
alone. Not by conflict, in which images have the shape of one class and the texture of another: that is unstable
(Burgert et al. 2025, arXiv 2509.20234; Kim et al. 2026, arXiv 2603.10834).

A loss has two causes: the cue is gone, and the images look as none did in training. So the same networks are also
trained on the images without the cue, and on each cue alone: what they then get right is there to be seen, and what the
others get less is unfamiliarity, not information.

    python -m experiments.cues                         textured shapes, of which each cue alone tells the class
    python -m experiments.cues --preset cifar10        CIFAR-10, with a network and a recipe for it
    python -m experiments.cues --data.name folder --data.data-dir photos --data.size 64
    python -m experiments.cues torch:my_package.networks:build --data.name folder --data.data-dir photos --data.size 224
    python -m experiments.cues runs/augmentation/ID    every network that a run has kept, on the run's images

A subject is named as in `python -m experiments.measure`: weights, a module of PyTorch, a function of JAX, a run. With
subjects nothing is trained but with `--train-beside`, which says what is left in the images.

Expected by default: each network is right on all whole images, and each by another cue: the CNN by texture, the MLP by
shape, the ViT by colour. They could go by others: trained on any cue alone, the CNN is right on nearly all images.

The same command goes on where a killed one was. The run directory holds every answer, the tables, the figures and a
page.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from cnnjax import runtime
from cnnjax.data import Augmentation, DataConfig, Dataset
from cnnjax.errors import InputError
from cnnjax.runs import Progress, open_run
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Engine, Sweep, check_same, check_same_data, sweep
from cnnjax.sweep.images import check_moves, load_images
from cnnjax.sweep.network import NetworkConfig
from cnnjax.sweep.ranges import check_named, check_ranges
from cnnjax.sweep.seeds import Seeds
from cnnjax.training import TrainConfig
from experiments.cues import report
from experiments.cues.cells import (
    TITLES,
    Kind,
    Network,
    Treatment,
    answers,
    fitted,
    is_control,
    most_cells,
    plan,
    treatments,
)
from experiments.cues.views import WHOLE, View, most_views, views_of
from experiments.shared.classes import match, read_names
from experiments.shared.kept_networks import of_dataset
from experiments.shared.named import Named, data_of_runs, parse
from experiments.shared.opening import Torch, count_classes, open_all
from experiments.shared.subject import Subject

TAKES = "under six minutes on one core"

ADAMW = TrainConfig(epochs=20, batch_size=32, optimizer="adamw", learning_rate=2e-3, weight_decay=0.01)

GROWS = ("seeds", "networks")
"""Options of which a run may get more: it keeps what stands. Not strengths: a cue goes by the middle one."""


@dataclasses.dataclass(frozen=True)
class Config(Seeds):
    """Options of the cues experiment."""

    subjects: tyro.conf.Positional[tuple[str, ...]] = ()
    """Networks from elsewhere: runs, NAME:FILE.safetensors, torch:MODULE:FUNCTION, jax:MODULE:FUNCTION."""
    data: DataConfig = dataclasses.field(
        default_factory=lambda: DataConfig(name="textured_shapes", train_images=1600, test_images=500)
    )
    networks: tuple[Kind, ...] = ("cnn", "mlp", "vit", "vit_half_gray")
    """The networks to train where no subjects are named; half gray: half of their training images have lost colour,
    so that there are none of grey images."""
    cnn: NetworkConfig = dataclasses.field(
        default_factory=lambda: NetworkConfig.of("all_conv", widths=(16, 32), depth=1, downsample="max", head="average")
    )
    mlp: NetworkConfig = dataclasses.field(default_factory=lambda: NetworkConfig.of("mlp", widths=(128, 64)))
    vit: NetworkConfig = dataclasses.field(
        default_factory=lambda: NetworkConfig.of("vit", width=48, depth=2, heads=4, patch_size=8)
    )
    train: TrainConfig = dataclasses.field(default_factory=lambda: TrainConfig(epochs=8, batch_size=32))
    """The recipe of the CNN."""
    train_others: TrainConfig = ADAMW
    """The recipe of the MLP and the ViT."""
    crop: int = 0
    """Padding of random crops in training, in pixels."""
    flip: float = 0.0
    """Probability of mirroring a training image left to right."""
    train_beside: bool = False
    """Train the networks too where subjects are named."""
    grids: tuple[int, ...] = (2, 4, 8)
    """Patches along each axis that are shuffled; the one in the middle is the main strength."""
    scales: tuple[float, ...] = (0.03, 0.06, 0.12)
    """Sigma of the smoothing as a share of the image's shorter side; the one in the middle is the main strength."""
    class_names: Path | None = None
    """A text file with the name of each class in a line, in the subjects' order."""
    torch: Torch = dataclasses.field(default_factory=Torch)
    engine: Engine = "process"
    """Where networks are trained: in this process, or on the Ray cluster that runs here (extra `cluster`)."""
    out: Path | None = None
    """The run directory (by default runs/cues/, under a name that follows from the options)."""


CIFAR10 = Config(
    data=DataConfig(name="cifar10"),
    networks=("cnn", "cnn_half_gray"),
    cnn=NetworkConfig.of("resnet", widths=(16, 32, 64), depth=1),
    train=TrainConfig(epochs=20, batch_size=128, learning_rate=0.1),
    crop=4,
    flip=0.5,
    seeds=3,
)
"""A residual network of 8 layers, with crops and mirror images."""


def run(config: Config) -> Path:
    """Train and open the networks, show them every view, write tables and figures, and return the run directory."""
    _check(config)
    named = [parse(text) for text in config.subjects]
    names = None if config.class_names is None else read_names(config.class_names)
    if config.data == Config().data and (theirs := data_of_runs(named)) is not None:
        config = dataclasses.replace(config, data=theirs)
    runtime.configure()
    kinds = config.networks if config.train_beside or not named else ()
    most = most_views(config.data, config.grids, config.scales)
    total = 2 * most_cells(kinds) + most * (len(kinds) + sum(one.count for one in named))
    with open_run("cues", config, out=config.out, grows=GROWS) as directory:
        with Progress(total) as progress:
            dataset = load_images(config.data, progress)
            kinds = _suited(kinds, dataset)
            views = views_of(dataset, config.grids, config.scales, size=config.data.size)
            plans = _plans(config, kinds, views, dataset)
            subjects, labels = _open(config, named, dataset, names)
            if twice := [label for label in subjects if label in map(TITLES.get, kinds)]:
                raise InputError(f"two networks are called {twice[0]}: tell them apart, as other={twice[0]}")
            if subjects:
                digests = {label: subject.digest() for label, subject in subjects.items()}
                check_same(directory, "subjects.json", digests, "networks or images")
            swept = Sweep(directory, [], dataset, None, config.seeds, {})
            if plans:
                options: dict[str, Any] = dict(
                    seeds=config.seeds, first_seed=config.first_seed, progress=progress, engine=config.engine
                )
                swept = sweep(directory, list(plans.values()), dataset, **options)
            else:
                check_same_data(directory, dataset)
            fits = fitted(swept, plans, progress)
            whole = {cell: plans[cell] for kind in kinds if (cell := Treatment(kind, WHOLE).cell) in fits}
            found = answers(swept, whole, subjects, views, progress)
        trained = [_trained(swept, kind, views, fits, found) for kind in kinds if Treatment(kind, WHOLE).cell in fits]
        others = [
            Network(label, {key: _right(classes, labels[label]) for key, classes in found[label].items()})
            for label in subjects
        ]
        if not (networks := [*trained, *others]):
            raise InputError(f"no network has learned whole images. {'; '.join(swept.failures)}")
        report.write(swept, networks, views)
        return directory.path


def _suited(kinds: Sequence[Kind], dataset: Dataset) -> Sequence[Kind]:
    """The kinds of network that the images allow; raises InputError where none is left of those that were named."""
    if dataset.test.images.shape[-1] == 3:
        return kinds
    suited: list[Kind] = [kind for kind in kinds if not kind.endswith("_half_gray")]
    if kinds and not suited:
        raise InputError(f"networks={' '.join(kinds)}: these images are grey already; name cnn, mlp or vit")
    return suited


def _plans(config: Config, kinds: Sequence[Kind], views: Sequence[View], dataset: Dataset) -> dict[str, CellPlan]:
    """The cells by name; raises InputError for a network or a recipe that the images do not allow."""
    check_moves(dataset, crop=config.crop)
    augmentation = Augmentation(crop=config.crop, flip=config.flip)
    found = {}
    for what in treatments(kinds, views):
        base = what.network.removesuffix("_half_gray")
        train = config.train if base == "cnn" else config.train_others
        train.steps_per_epoch(len(dataset.train.images))
        found[what.cell] = plan(what, getattr(config, base), train, augmentation, dataset)
    return found


def _open(
    config: Config, named: Sequence[Named], dataset: Dataset, names: Sequence[str] | None
) -> tuple[dict[str, Subject], dict[str, np.ndarray]]:
    """The subjects by label, and the right classes of the images by the label of the subject."""
    subjects = open_all(named, of_dataset(dataset), config.torch)
    labels = {}
    for label, subject in subjects.items():
        classes = match(subject.images, count_classes(subject), names, network=label)
        if classes.labels is None:
            raise InputError(f"{label}: what is lost is accuracy, which needs the right classes. {classes.note}")
        labels[label] = classes.labels
    return subjects, labels


def _trained(
    of: Sweep,
    kind: Kind,
    views: Sequence[View],
    fits: Mapping[str, np.ndarray],
    found: Mapping[str, Mapping[str, np.ndarray]],
) -> Network:
    """What became of the networks of a kind; those trained half in grey have no controls."""
    right = {
        key: _right(classes, of.dataset.test.labels) for key, classes in found[Treatment(kind, WHOLE).cell].items()
    }
    cells = {view.key: Treatment(kind, view).cell for view in views if is_control(view)}
    trained = {
        key: _right(of.predictions[cell]["test/classes"], of.dataset.test.labels)
        for key, cell in cells.items()
        if cell in of.predictions
    }
    own = {WHOLE.key: Treatment(kind, WHOLE).cell, **cells}
    fitted = {key: fits[cell] for key, cell in own.items() if cell in fits}
    return Network(TITLES[kind], right, trained, fitted, of.first_seed)


def _right(classes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return (classes == labels).astype(np.float64)


def _check(config: Config) -> None:
    check_ranges(config)
    check_named(config, "grids", "scales")
    if not config.subjects or config.train_beside:
        check_named(config, "networks")
    for option in ("networks", "grids", "scales"):
        values = getattr(config, option)
        if len(set(values)) < len(values):
            raise InputError(f"{option} has one of {', '.join(map(str, values))} twice: give each once")
    for name, kinds in (("mlp", ("mlp",)), ("cnn", ("all_conv", "resnet", "vgg")), ("vit", ("vit",))):
        if getattr(config, name).name not in kinds and ":" not in getattr(config, name).name:
            raise InputError(f"{name}.name={getattr(config, name).name} must be {' or '.join(kinds)}")
