"""Networks that runs of other experiments have kept, or files of weights; and the images that they are shown."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flax.traverse_util import unflatten_dict
from jaxtyping import PyTree

from cnnjax import models
from cnnjax.data import DataConfig, Dataset, load
from cnnjax.data.decode import decode
from cnnjax.data.framing import Fit, Whole
from cnnjax.data.image_files import SUFFIXES, describe_left_out, image_files
from cnnjax.door.choices import check_choice
from cnnjax.errors import InputError
from cnnjax.files import printable
from cnnjax.reporting import Report, silent
from cnnjax.runs import read_config
from cnnjax.runs.folder import Folder
from cnnjax.sweep.catalogue import CATALOGUE
from cnnjax.sweep.cell import WEIGHTS
from cnnjax.sweep.describe import build_described
from cnnjax.training import unstack
from experiments.shared.subject import Images, Subject, drawn, of_model


def of_run(run: Path, cell: str, seed: int, images: Path | None, *, progress: Report = silent) -> Subject:
    """A network that a cell of a run has kept, and the run's test images, or those of a folder.

    An empty `cell` is the first in name order. Raises InputError for what is no run, a cell that has kept no weights
    (naming those that have), a seed that it has not, and images that the network cannot take.
    """
    document, kept = read_config(run), _cells(run)
    cell = cell or kept[0]
    check_choice(f"{run}: cell", cell, kept)
    shown = of_dataset(load(data_of(document), progress=progress))
    if images is not None:
        _, side, _, channels = shown.pixels.shape
        shown = folder_images(images, side=side, channels=channels, fit=data_of(document).fit, progress=progress)
    first = _first(document)
    return of_cell(_folder(run, document, cell), seed - first, shown, title=_title(document, cell, seed), first=first)


def seeds_in(path: Path) -> dict[str, int]:
    """How many networks each cell of a run has kept; or of one cell, `RUN/cells/CELL`.

    Raises InputError for what is no run, one without networks, and a cell without.
    """
    run, only = _split(path)
    document = read_config(run)
    cells = [cell for cell in _cells(run) if only in (None, cell)]
    if not cells:
        raise InputError(f"{path} has no {WEIGHTS}: a cell that has some is one of {', '.join(_cells(run))}")
    return {cell: len(next(iter(_folder(run, document, cell).arrays(WEIGHTS).values()))) for cell in cells}


def networks_of_run(path: Path, images: Images) -> dict[str, Subject]:
    """The networks that `seeds_in` counts, by what tells their cells apart, and by seed too where a cell has several.

    Raises InputError as that does, and as `of_cell`.
    """
    run, _ = _split(path)
    document, counts = read_config(run), seeds_in(path)
    several, labels = max(counts.values()) > 1, _labels(list(counts))
    first = _first(document)
    return {
        f"{labels[cell]}-{first + at}" if several else labels[cell]: of_cell(
            _folder(run, document, cell), at, images, title=_title(document, cell, first + at)
        )
        for cell, seeds in counts.items()
        for at in range(seeds)
    }


def _labels(cells: Sequence[str]) -> dict[str, str]:
    """Cells called KEY=VALUE,KEY=VALUE by those of their values in which they differ; others by their names."""
    parts = {cell: [part.partition("=") for part in cell.split(",")] for cell in cells}
    settings = {cell: {key: value for key, _, value in of} for cell, of in parts.items()}
    keys = list(settings[cells[0]])
    differ = [key for key in keys if len({of.get(key) for of in settings.values()}) > 1]
    if not differ or any(list(of) != keys for of in settings.values()):
        return {cell: cell for cell in cells}
    return {cell: ",".join(of[key] for key in differ) for cell, of in settings.items()}


def _split(path: Path) -> tuple[Path, str | None]:
    """The run, and the cell where one is meant."""
    return (path.parents[1], path.name) if path.parent.name == "cells" else (path, None)


def _cells(run: Path) -> list[str]:
    kept = sorted(path.parent.name for path in run.glob(f"cells/*/{WEIGHTS}"))
    if not kept:
        raise InputError(f"{run} has no cell with {WEIGHTS}: is its training finished, and does it keep networks?")
    return kept


def _folder(run: Path, document: Mapping[str, Any], cell: str) -> Folder:
    return Folder(run / "cells" / cell, f"{document['identity']}/{cell}")


def _first(document: Mapping[str, Any]) -> int:
    """The seed of the first network of each cell."""
    return document["config"].get("first_seed", 0)


def _title(document: Mapping[str, Any], cell: str, seed: int) -> str:
    return f"{document['experiment']}, {cell}, seed {seed}"


def moved(description: Any) -> Any:
    """The description of a network with its class where it is now, of a run of before that too."""
    if isinstance(description, dict) and "class" in description:
        return description | {"class": str(description["class"]).replace("experiments.parts.", "experiments.")}
    return description


def of_cell(folder: Folder, at: int, images: Images, *, title: str, first: int = 0) -> Subject:
    """A network that the cell in `folder` has kept, described beside its weights, with its snapshots.

    It is the one `at` places behind that of the first seed.
    """
    again = f"delete the folder {folder.path} and let the run's command train the cell again"
    arrays, about = folder.described(WEIGHTS, remedy=again)
    model = build_described(moved(about.get("network")), packages=("experiments",))
    seeds = len(next(iter(arrays.values())))
    if not 0 <= at < seeds:
        raise InputError(f"seed={first + at}: {folder.path.name} has networks from {first} to {first + seeds - 1}")

    def network(name: str) -> PyTree:
        flat, _ = folder.described(name, remedy=again)
        return unstack(unflatten_dict(flat, sep="/"), seeds)[at]

    snapshots = {}
    for path in sorted(folder.path.glob("epoch*.safetensors")):
        if epoch := re.fullmatch(r"epoch(\d+)", path.stem):
            snapshots[int(epoch[1])] = network(path.name)
    title = f"{type(model).__name__} of {title}"
    return Subject(title, of_model(model), network(WEIGHTS), images, drawn(model, images), snapshots)


def of_weights(name: str, weights: Path, images: Path | None, *, progress: Report = silent) -> Subject:
    """A network with weights from elsewhere (`models.load_weights`) and the images of a folder."""
    if images is None:
        raise InputError("weights from elsewhere come without images: give a folder of them with --images FOLDER")
    model, variables = models.load_weights(name, weights)
    setting = CATALOGUE["alexnet_one_tower" if name == "alexnet" else name]
    shown = folder_images(images, side=setting.side, channels=setting.channels, fit="center", progress=progress)
    title = f"{name} with the weights of {weights.name}"
    return Subject(title, of_model(model), variables, shown, drawn(model, shown))


def folder_images(folder: Path, *, side: int, channels: int, fit: Fit = "cover", progress: Report = silent) -> Images:
    """The image files of a folder and those below it in name order, each a square of `side` pixels, as `fit` says.

    Raises InputError for what is no folder, one without images, and a file that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"images={printable(folder)} is not a folder")
    files, left_out = image_files(folder)
    if not files:
        raise InputError(f"{printable(folder)} has no images; files ending in {', '.join(SUFFIXES)} are read")
    named = ((printable(path), path) for path in files)
    what, whole = f"decoding {printable(folder.name)}", Whole(side, fit)
    pixels = decode(named, len(files), channels=channels, framing=whole, what=what, progress=progress)
    name = f"{len(files):,} images of the folder {printable(folder.name)}"
    about = "; ".join(filter(None, [f"{name}{whole}", describe_left_out(left_out)]))
    return Images(pixels, None, None, name, about)


def of_dataset(dataset: Dataset) -> Images:
    """A dataset's test images."""
    test = dataset.test
    name = f"{len(test.images):,} test images of {dataset.name}"
    return Images(test.array, test.labels, dataset.class_names, name, f"{name}: {dataset.note}")


def data_of(document: Mapping[str, Any]) -> DataConfig:
    settings = document["config"].get("data")
    if settings is None:
        raise InputError(
            f"the run's config has no data: a run of {document['experiment']} is none to be looked at here"
        )
    if strange := sorted(set(settings) - {field.name for field in dataclasses.fields(DataConfig)}):
        raise InputError(f"the run's data have the settings {', '.join(strange)}, which this version does not know")
    directory = settings.get("data_dir")
    # Before it was said how images come to their size they were stretched.
    return DataConfig(**{"fit": "stretch", **settings, "data_dir": None if directory is None else Path(directory)})
