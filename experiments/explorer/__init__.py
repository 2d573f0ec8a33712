"""What does a convolution compute, what does a unit see, and what becomes of the scores when the image moves?

One page, `explorer.html`, that opens offline in any browser and moves: a window slides over an image and fills a map,
with every product on hover; padding, stride and dilation by buttons; the pixels that a unit of any layer sees, exactly
and by weight; an image to be dragged and turned while the scores of networks trained with and without augmentation
follow; and the matrix of a dense layer beside that of a convolution. The networks run in the page, on any image.

    python -m experiments.explorer                                    trains a pair on handwritten digits first
    python -m experiments.explorer --image photo.jpg
    python -m experiments.explorer --run runs/augmentation/ID
    python -m experiments.explorer --run runs/augmentation/ID --cells augmentation=none augmentation=rotation --seed 1

A run is that of any experiment whose cells keep `weights.safetensors`, with networks that a page can run: convolutions
of every kind, pools, polyphase ones too, blurs, normalization, rectifiers and their company, group convolutions; not
attention.

Expected on the default data: both networks know the digits where they are. The one that was trained without
augmentation takes them for others when they are turned by more than some 40 degrees or moved by a few pixels.

The same command goes on where a killed one was.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from cnnjax import analysis, models, runtime
from cnnjax.data import Augmentation, DataConfig, Dataset
from cnnjax.door.choices import check_choice
from cnnjax.errors import InputError
from cnnjax.runs import Progress, RunDirectory, Table, open_run, show_tables
from cnnjax.sweep.cell import CellPlan
from cnnjax.sweep.cells import Sweep, check_same, sweep
from cnnjax.sweep.images import check_moves, load_images
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.ranges import check_ranges
from cnnjax.sweep.traced import shapes_of
from cnnjax.training import TrainConfig
from experiments.explorer.document import Network, Shown, document_of
from experiments.explorer.page import write_explorer
from experiments.explorer.tape import record
from experiments.shared import kept_networks
from experiments.shared.picture import load_picture
from experiments.shared.subject import Images, classifier, map_fields, of_model

TAKES = "about a minute on two cores"

PAGE = "explorer.html"
SIDE_BY_SIDE = 4
"""Networks of a run on one page."""
LARGE = 2.0
"""Megabytes above which it is said how a page becomes smaller."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the explorer."""

    run: Path | None = None
    """The directory of a run whose networks are shown; without it, a pair is trained."""
    cells: tuple[str, ...] = ()
    """Which cells of the run; by default the first four in name order."""
    seed: int = 0
    """Which network of each cell."""
    image: str = ""
    """A picture of your own, shown first: a file, or one that a package carries, such as china or flower."""
    images: int = 20
    """Test images on the page, of all classes in turn; the effective fields are means over them."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    network: NetworkConfig = dataclasses.field(
        default_factory=lambda: NetworkConfig.of("all_conv", widths=(8, 16, 32), depth=1, downsample="max")
    )
    train: TrainConfig = dataclasses.field(default_factory=lambda: TrainConfig(epochs=20, batch_size=32))
    longer: int = 2
    """How many times the epochs the network with augmentation trains: there is more to fit."""
    crop: int = 4
    """Padding of the random crop of the augmentation, in pixels."""
    rotation: float = 180.0
    """Farthest random rotation of the augmentation either way, in degrees."""
    out: Path | None = None
    """The run directory (by default runs/explorer/, under a name that follows from the options)."""


def run(config: Config) -> Path:
    """Find or train the networks, measure what units see, write the page, and return the run directory."""
    _check(config)
    runtime.configure()
    with open_run("explorer", config, out=config.out) as directory:
        with Progress(3 if config.run is None else 1) as progress:
            found = _trained(directory, config, progress) if config.run is None else _kept(directory, config, progress)
            progress.cell("page")
            found = [_tried(network) for network in found]
            shown = _shown(config, found[0].subject.images)
            document = document_of(found, shown, note=found[0].subject.images.note)
        names = " and ".join(", ".join(network.name for network in found).rsplit(", ", 1))
        about = f"Computed here, on the image that you choose, by {names}. {document['note'].rstrip('.')}."
        write_explorer(directory.path / PAGE, "A convolutional network, number by number", about, document)
        _report(directory, found, seed=config.seed)
        return directory.path


def _check(config: Config) -> None:
    check_ranges(config)
    if config.cells and config.run is None:
        raise InputError(f"cells={' '.join(config.cells)} without a run: give --run, too")
    if twice := {name for name in config.cells if config.cells.count(name) > 1}:
        raise InputError(f"cells has {', '.join(sorted(twice))} more than once: give every name once")
    if len(config.cells) > SIDE_BY_SIDE:
        raise InputError(f"cells names {len(config.cells)}: a page shows at most {SIDE_BY_SIDE} networks")


def _trained(directory: RunDirectory, config: Config, progress: Progress) -> list[Network]:
    """The pair, trained or read from where it was kept."""
    dataset = load_images(config.data, progress, max_shift=config.crop)
    check_moves(dataset, crop=config.crop)
    config.train.steps_per_epoch(len(dataset.train.images))
    model = build(config.network, dataset)
    _prove(model, dataset)
    longer = dataclasses.replace(config.train, epochs=config.longer * config.train.passes(len(dataset.train.images)))
    plans = [
        CellPlan("augmentation=none", model, config.train, seeds=[config.seed]),
        CellPlan("augmentation=both", model, longer, Augmentation(config.crop, config.rotation), seeds=[config.seed]),
    ]
    swept = sweep(directory, plans, dataset, seeds=1, progress=progress)
    swept.check_any()
    images = kept_networks.of_dataset(dataset)
    return [_network(swept, plan, images) for plan in plans if plan.name in swept.predictions]


def _prove(model: nn.Module, dataset: Dataset) -> None:
    """Raise `InputError`, before it is trained, for a network that has no maps or that the page cannot run."""
    images, shapes = shapes_of(model, dataset.test.images.shape[1:])
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    map_fields(of_model(model), variables, np.zeros(images.shape, np.uint8))
    record(models.bind(model, variables), images.shape[1:])


def _network(swept: Sweep, plan: CellPlan, images: Images) -> Network:
    epochs = plan.train.passes(len(swept.dataset.train.images))
    title = f"{swept.dataset.name}, {epochs} epochs, seed {(plan.seeds or [0])[0]}"
    subject = kept_networks.of_cell(swept.run.cell(plan.name), 0, images, title=title)
    right = swept.predictions[plan.name]["test/classes"][0] == images.labels
    return Network(plan.name, subject, float(np.mean(right)))


def _kept(directory: RunDirectory, config: Config, progress: Progress) -> list[Network]:
    """Networks of a run."""
    assert config.run is not None
    path = config.run.expanduser()
    counts = kept_networks.seeds_in(path)
    for cell in config.cells:
        check_choice(f"{path}: cell", cell, counts)
    cells = list(config.cells or counts)[:SIDE_BY_SIDE]
    if left := len(counts) - len(cells):
        progress.note(f"{len(cells)} of {len(counts)} cells are shown: choose others with --cells; {left} are left out")
    root = path.parents[1] if path.parent.name == "cells" else path
    found = []
    for cell in cells:
        found.append(Network(cell, kept_networks.of_run(root, cell, config.seed, None, progress=progress.prepare)))
    check_same(
        directory,
        "subjects.json",
        {one.name: one.subject.digest() for one in found},
        "weights or the images of the run",
    )
    return found


def _tried(network: Network) -> Network:
    """The network with its accuracy on all test images, where that is not known yet."""
    images = network.subject.images
    if network.accuracy is not None or images.labels is None:
        return network
    answers = analysis.classify_all(classifier(network.subject), images.pixels)
    return dataclasses.replace(network, accuracy=float(np.mean(answers == images.labels)))


def _shown(config: Config, images: Images) -> Shown:
    """The images of the page: one's own, then test images of all classes in turn."""
    count, height, width, channels = images.pixels.shape
    labels = np.zeros(count, int) if images.labels is None else np.asarray(images.labels)
    # The first of each class, then the second of each.
    rank = np.array([np.sum(labels[:i] == labels[i]) for i in range(count)])
    order = np.lexsort((labels, rank))[: config.images]
    pixels: list[np.ndarray] = [images.pixels[i] for i in order]
    known: list[int | None] = [None if images.labels is None else int(labels[i]) for i in order]
    titles = [f"test image {i}" for i in order]
    if config.image:
        if height != width:
            raise InputError(f"image={config.image}: the images are of {height}×{width} pixels, and not square")
        own = load_picture(config.image, side=height, channels=channels)
        pixels, known, titles = [np.rint(own * 255).astype(np.uint8), *pixels], [None, *known], ["your image", *titles]
    return Shown(np.stack(pixels), known, titles)


def _report(directory: RunDirectory, found: Sequence[Network], *, seed: int) -> None:
    """Print and write what the networks are."""
    import pandas as pd

    rows = [
        {"cell": one.name, "parameters": sum(np.size(leaf) for leaf in _leaves(one)), "accuracy": one.accuracy}
        for one in found
    ]
    directory.write_table("summary", pd.DataFrame(rows).assign(seed=seed))
    size = (directory.path / PAGE).stat().st_size / 1e6
    caption = f"Accuracy over all test images as they are. The page, {PAGE}, has {size:.2f} MB."
    if size > LARGE:
        caption += " Fewer --cells make it smaller."
    show_tables(directory, [Table(rows, "Networks of the page", caption, percent=("accuracy",))])


def _leaves(network: Network) -> list[Any]:
    return jax.tree.leaves(network.subject.variables["params"])
