"""The network that is looked at, and the images that it is shown: of a run, from a file of weights, or trained here."""

import dataclasses
import difflib
import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from cnnjax import analysis, models
from cnnjax.data import DataConfig, Dataset, load
from cnnjax.data.decode import decode
from cnnjax.data.image_files import SUFFIXES, describe_left_out, image_files
from cnnjax.data.sources.source import Progress
from cnnjax.errors import InputError
from cnnjax.files import printable
from cnnjax.program.names import path_name
from cnnjax.runs import read_config
from cnnjax.sweep.catalogue import CATALOGUE
from cnnjax.sweep.cell import WEIGHTS
from cnnjax.sweep.describe import build_described
from cnnjax.sweep.kept import Folder
from cnnjax.sweep.traced import activations_of
from cnnjax.training import unstack


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """What the network is shown."""

    pixels: np.ndarray
    """uint8 (images, height, width, channels)."""
    labels: np.ndarray | None
    """int (images,); None where the classes are not known."""
    class_names: tuple[str, ...] | None
    name: str
    """How many of what, in a few words."""
    note: str
    """What to say beside a number."""


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A network, the images, and the same network at earlier epochs of its training.

    Raises InputError for weights that are not finite.
    """

    title: str
    model: nn.Module
    variables: PyTree
    images: Images
    snapshots: Mapping[int, PyTree]

    def __post_init__(self):
        # Compiled rectifiers may make 0 of NaN, and nothing would be seen of it later.
        for path, leaf in jax.tree.leaves_with_path(self.variables):
            if not np.isfinite(np.asarray(leaf)).all():
                raise InputError(
                    f"the weights {path_name(path)} contain NaN or infinity: train the network again, or mend the file"
                )

    def forward(self, variables: PyTree | None = None) -> Partial:
        """Images to activations by layer, with these or other variables, which share one compilation.

        Its arguments are `by_layer(variables)`.
        """
        return Partial(_activations(self.model), by_layer(self.variables if variables is None else variables))

    def floats(self, rows: slice | np.ndarray) -> np.ndarray:
        """Some of the images, float32 in [0, 1]."""
        return self.images.pixels[rows].astype(np.float32) / np.float32(255)

    def class_name(self, index: int) -> str:
        """What a class is called; its number where that is not known."""
        names = self.images.class_names
        return names[index] if names is not None and index < len(names) else f"class {index}"

    def fresh(self) -> PyTree:
        """The network's variables as drawn before any training, by a key of their own."""
        return self.model.init(jax.random.key(1_000_003), jnp.asarray(self.floats(slice(1))))

    def digest(self) -> str:
        """A fingerprint of the weights and the images."""
        found = hashlib.sha256()
        for leaf in (*jax.tree.leaves(self.variables), self.images.pixels):
            array = np.asarray(leaf)
            found.update(f"{array.shape}{array.dtype}".encode())
            found.update(array.tobytes())
        return found.hexdigest()


def by_layer(variables: PyTree) -> dict[str, dict[str, Any]]:
    """Variables by the network's own submodules, a layer's parameters and its statistics together."""
    layers: dict[str, dict[str, Any]] = {}
    for (kind, layer, *rest), leaf in flatten_dict(variables).items():
        layers.setdefault(layer, {})[".".join((kind, *rest))] = leaf
    return layers


@functools.lru_cache(maxsize=8)
def _activations(model: nn.Module) -> Callable[[PyTree, Array], Any]:
    def activations(layers: PyTree, images: Array) -> Any:
        flat = {}
        for layer, members in layers.items():
            for name, leaf in members.items():
                kind, *rest = name.split(".")
                flat[kind, layer, *rest] = leaf
        return model.apply(unflatten_dict(flat), images)[1]  # pyright: ignore[reportIndexIssue]

    return activations


def map_fields(model: nn.Module, variables: PyTree, images: np.ndarray) -> dict[str, analysis.ReceptiveField]:
    """The receptive field of every layer that is a map, in forward order; nothing is run.

    Raises InputError for images that the network cannot take, and a network without maps.
    """
    struct, forward = jax.ShapeDtypeStruct((1, *images.shape[1:]), jnp.float32), activations_of(model, variables)
    fields, shapes = analysis.receptive_field(forward, struct), jax.eval_shape(forward, struct)
    layers = analysis.cost(model.apply, struct, variables).layers
    maps = {
        name: fields[name]
        for name in layers
        if name in fields and shapes[name].ndim >= 4 and np.prod(shapes[name].shape[1:3]) > 1
    }
    if not maps:
        raise InputError(f"{type(model).__name__} has no maps: choose a convolutional network")
    return maps


def of_run(run: Path, cell: str, seed: int, images: Path | None, *, progress: Progress | None = None) -> Subject:
    """A network that a cell of a run has kept, and the run's test images, or those of a folder.

    An empty `cell` is the first in name order. Raises InputError for what is no run, a cell that has kept no weights
    (naming those that have), a seed that it has not, and images that the network cannot take.
    """
    document = read_config(run)
    kept = sorted(path.parent.name for path in run.glob(f"cells/*/{WEIGHTS}"))
    if not kept:
        raise InputError(f"{run} has no cell with {WEIGHTS}: is its training finished, and does it keep networks?")
    cell = cell or kept[0]
    if cell not in kept:
        near = difflib.get_close_matches(cell, kept, n=3) or kept
        raise InputError(f"{run} has no weights of a cell {cell!r}; perhaps {' or '.join(near)}?")
    shown = of_dataset(load(_data_of(document), progress=progress))
    if images is not None:
        _, side, _, channels = shown.pixels.shape
        shown = folder_images(images, side=side, channels=channels, progress=progress)
    folder = Folder(run / "cells" / cell, f"{document['identity']}/{cell}")
    return of_cell(folder, seed, shown, title=f"{document['experiment']}, {cell}, network {seed}")


def moved(description: Any) -> Any:
    """The description of a network with its class where it is now, of a run of before that too."""
    if isinstance(description, dict) and "class" in description:
        return description | {"class": str(description["class"]).replace("experiments.parts.", "experiments.")}
    return description


def of_cell(folder: Folder, seed: int, images: Images, *, title: str) -> Subject:
    """A network that the cell in `folder` has kept, described beside its weights, with its snapshots."""
    again = f"delete the folder {folder.path} and let the run's command train the cell again"
    arrays, about = folder.described(WEIGHTS, remedy=again)
    model = build_described(moved(about.get("network")), packages=("experiments",))
    seeds = len(next(iter(arrays.values())))
    if not 0 <= seed < seeds:
        raise InputError(f"seed={seed}: {folder.path.name} has networks from 0 to {seeds - 1}")
    shape = jax.ShapeDtypeStruct((1, *images.pixels.shape[1:]), jnp.float32)
    one = jax.eval_shape(model.init, jax.random.key(0), shape)
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((seeds, *leaf.shape), leaf.dtype), one)

    def network(name: str) -> PyTree:
        return unstack(folder.load(name, like, remedy=again), seeds)[seed]

    snapshots = {}
    for path in sorted(folder.path.glob("epoch*.safetensors")):
        if epoch := re.fullmatch(r"epoch(\d+)", path.stem):
            snapshots[int(epoch[1])] = network(path.name)
    return Subject(f"{type(model).__name__} of {title}", model, network(WEIGHTS), images, snapshots)


def of_weights(name: str, weights: Path, images: Path | None, *, progress: Progress | None = None) -> Subject:
    """A network with weights from elsewhere (`models.load_weights`) and the images of a folder."""
    if images is None:
        raise InputError("weights from elsewhere come without images: give a folder of them with --images FOLDER")
    model, variables = models.load_weights(name, weights)
    setting = CATALOGUE["alexnet_one_tower" if name == "alexnet" else name]
    shown = folder_images(images, side=setting.side, channels=setting.channels, progress=progress)
    return Subject(f"{name} with the weights of {weights.name}", model, variables, shown, {})


def folder_images(folder: Path, *, side: int, channels: int, progress: Progress | None = None) -> Images:
    """The image files of a folder and those below it in name order, each resized to a square of `side` pixels.

    Raises InputError for what is no folder, one without images, and a file that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"images={printable(folder)} is not a folder")
    files, left_out = image_files(folder)
    if not files:
        raise InputError(f"{printable(folder)} has no images; files ending in {', '.join(SUFFIXES)} are read")
    named = ((printable(path), path) for path in files)
    what = f"decoding {printable(folder.name)}"
    pixels = decode(named, len(files), channels=channels, size=side, what=what, progress=progress)
    name = f"{len(files):,} images of the folder {printable(folder.name)}"
    about = "; ".join(filter(None, [f"{name}, resized to {side}×{side}", describe_left_out(left_out)]))
    return Images(pixels, None, None, name, about)


def of_dataset(dataset: Dataset) -> Images:
    """A dataset's test images."""
    test = dataset.test
    name = f"{len(test.images):,} test images of {dataset.name}"
    return Images(test.images, test.labels, dataset.class_names, name, f"{name}: {dataset.note}")


def _data_of(document: Mapping[str, Any]) -> DataConfig:
    settings = document["config"].get("data")
    if settings is None:
        raise InputError(
            f"the run's config has no data: a run of {document['experiment']} is none to be looked at here"
        )
    if strange := sorted(set(settings) - {field.name for field in dataclasses.fields(DataConfig)}):
        raise InputError(f"the run's data have the settings {', '.join(strange)}, which this version does not know")
    directory = settings.get("data_dir")
    return DataConfig(**{**settings, "data_dir": None if directory is None else Path(directory)})


def even(items: Sequence[Any], count: int) -> list[Any]:
    """`count` of the items, at even steps from the first to the last; all of fewer."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]
