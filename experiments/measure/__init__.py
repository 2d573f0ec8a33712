"""How invariant is a network, and which of its layers break that?

Measures any network whole, on any images that the project reads, and several side by side:

- its answers under every shift (three fills), sub-pixel shift and rotation of the invariance protocol: worst case,
  consistency, flip rate, with intervals over images and paired comparisons; accuracy where the classes are known;
- its layers: the error under a shift as aliasing, border and content; Lie derivatives of every generator and what each
  layer adds to them (Gruver et al. 2022); receptive and effective fields; cost; normalised variance; gradient flow;
- its units: the strongest of two layers, projected, and how far such pictures can be believed.

    python -m experiments.measure resnet50:w.safetensors --data.name folder --data.data-dir photos --data.size 224
    python -m experiments.measure torch:torchvision.models:resnet18 torch:model.pt2 jax:my.networks:build
    python -m experiments.measure runs/augmentation/ID          every network that a run has kept
    python -m experiments.measure small=runs/stride/ID/cells/CELL large=resnet18:w.safetensors --quick

A subject is `NAME:FILE`, weights as `models.load_weights` reads them; `torch:PACKAGE.MODULE:FUNCTION`, which returns a
module of PyTorch and is imported because you name it, or `torch:FILE.pt2`, a file of `torch.export.save`;
`jax:PACKAGE.MODULE:FUNCTION`, which returns (forward, variables) or a function of images; or the directory of a run, or
of one of its cells. `LABEL=SUBJECT` says what to call it. Where only runs are named and no data, the data are the first
run's own. Images are those of the test split; `--all-images` takes the training split too, for networks that have not
seen either.

`--quick` takes few images, few transforms and few layers, for large networks.

The same command goes on where a killed one was. The run directory holds every measurement, the tables, a page for each
network and `page.html`, which compares them.
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from cnnjax import runtime
from cnnjax.data import DataConfig, Dataset
from cnnjax.errors import InputError
from cnnjax.runs import Progress, RunDirectory, open_run
from cnnjax.sweep.cells import check_same
from cnnjax.sweep.protocol import ProtocolConfig
from cnnjax.sweep.ranges import check_ranges
from experiments.measure import cells, invariance, report, units
from experiments.measure import layers as layer_names
from experiments.measure.found import Found
from experiments.measure.scope import Scope, images_of, scope_of
from experiments.shared.classes import match, read_names
from experiments.shared.kept_networks import of_dataset
from experiments.shared.named import Named, data_of_runs, parse
from experiments.shared.opening import Torch, count_classes, open_all
from experiments.shared.subject import Subject

TAKES = "under a minute for a small network, with --quick ten for ResNet-50 at 224 pixels, on two cores"

PARTS = ("anatomy", "predictions", "shift terms", "Lie derivatives", "variance", "effective fields", "gradients")
"""What is measured of each network, besides its units."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the measurement."""

    subjects: tyro.conf.Positional[tuple[str, ...]] = ()
    """The networks: runs, NAME:FILE.safetensors, torch:MODULE:FUNCTION, torch:FILE.pt2, jax:MODULE:FUNCTION."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    all_images: bool = False
    """Take the images of the training split too: for networks that were trained on neither."""
    class_names: Path | None = None
    """A text file with the name of each class in a line, in the networks' order."""
    torch: Torch = dataclasses.field(default_factory=Torch)
    protocol: ProtocolConfig = dataclasses.field(default_factory=lambda: ProtocolConfig(images=256))
    layer_images: int = 32
    """Images, the first ones, over which layers are measured; fewer where memory holds fewer."""
    quick: bool = False
    """At most 64 images, 4 for layers, shifts of a pixel, quarter turns, 12 layers and two attributed generators."""
    out: Path | None = None
    """The run directory (by default runs/measure/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Open the networks, measure each, write tables and pages, and return the run directory."""
    _check(config)
    named = [parse(text) for text in config.subjects]
    names = None if config.class_names is None else read_names(config.class_names)
    config = dataclasses.replace(config, data=_data(config, named))
    runtime.configure()
    with open_run("measure", config, out=config.out) as directory:
        total = sum(one.count for one in named)
        with Progress(total * (len(PARTS) + units.PARTS)) as progress:
            scope = scope_of(config.protocol, layer_images=config.layer_images, quick=config.quick)
            count, every = scope.protocol.images, config.all_images
            dataset = images_of(config.data, count, every=every, progress=progress)
            networks = open_all(named, of_dataset(dataset), config.torch)
            classes = {}
            for label, subject in networks.items():
                classes[label] = match(subject.images, count_classes(subject), names, network=label)
                images = dataclasses.replace(
                    subject.images, labels=classes[label].labels, class_names=classes[label].names
                )
                networks[label] = dataclasses.replace(subject, images=images)
            _check_same(directory, networks)
            found = {
                label: _measure(directory, label, subject, scope, dataset, progress)
                for label, subject in networks.items()
            }
        report.write(directory, networks, found, classes, scope, dataset)
        return directory.path


def _check(config: Config) -> None:
    if not config.subjects:
        raise InputError("there is nothing to measure: name a network, as resnet50:FILE.safetensors, or a run")
    check_ranges(config)
    for name, value in {"protocol.images": config.protocol.images, "layer_images": config.layer_images}.items():
        if value < 2:
            raise InputError(f"{name}={value}: layers are measured over two images at least")


def _data(config: Config, named: list[Named]) -> DataConfig:
    """The images that are asked for; without a word about them, those of the first run where all are runs."""
    return config.data if config.data != DataConfig() else data_of_runs(named) or config.data


def _check_same(directory: RunDirectory, networks: dict[str, Subject]) -> None:
    check_same(directory, "subjects.json", {label: s.digest() for label, s in networks.items()}, "networks or images")


def _measure(
    directory: RunDirectory, label: str, subject: Subject, scope: Scope, dataset: Dataset, progress: Progress
) -> Found:
    """Everything about one network, each part from its file where it was measured earlier."""

    def once(part: str, measure: Callable[[], Any], *, arrays: bool = False) -> Any:
        file = re.sub(r"[ /]", "_", part) + (".safetensors" if arrays else ".json")
        return directory.once(label, file, measure, progress=progress, title=f"{label}: {part}")

    given = subject, scope, progress
    anatomy = once("anatomy", lambda: layer_names.anatomy(subject))
    layers = layer_names.layers_of(subject, anatomy, scope.layers)
    todo = invariance.orbits_of(subject, scope.protocol, dataset)
    labels = subject.images.labels
    return Found(
        anatomy=anatomy,
        layers=layers,
        todo=todo,
        predictions=once("predictions", lambda: invariance.predictions(subject, todo, progress), arrays=True),
        terms=once("shift terms", lambda: cells.shift_terms(*given, layers)),
        lie=once("Lie derivatives", lambda: cells.lie(*given, layers)),
        variance=once("variance", lambda: cells.variance(*given, layers)),
        effective=once("effective fields", lambda: cells.effective(*given, layers)),
        gradients=once("gradients", lambda: cells.gradients(*given, layers, labels)),
        units=units.measure(*given, layers, functools.partial(once, arrays=True)),
    )
