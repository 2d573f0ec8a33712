"""The user's own images: a directory with one folder for each class."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnnjax.data.cache import cached, fingerprint
from cnnjax.data.config import DataConfig
from cnnjax.data.decode import decode, differing_sizes, look
from cnnjax.data.encoded import Files
from cnnjax.data.framing import Whole
from cnnjax.data.image_files import LINK, SUFFIXES, contents, describe_left_out, image_files
from cnnjax.data.sources.folder_layout import outline, splits_of
from cnnjax.data.sources.source import Arrays, Source, Splits, choose, every
from cnnjax.errors import InputError
from cnnjax.files import printable
from cnnjax.reporting import Report

TEST_EVERY = 5

_EVERY = f"every {TEST_EVERY}th file of each class in name order"

Classes = dict[str, list[Path]]
"""The image files of each class, by the name of its folder."""


def open_source(config: DataConfig) -> Source:
    """Describe the images in the class folders of `config.data_dir`, or of its folders train and test (or val).

    Folders of splits are known by their usual names in any case; the test images are those of test if it has classes,
    else of val (see `folder_layout`). Without them every fifth file of each class in name order is for test. Hidden
    files and folders, links to folders inside a class and files of other kinds are left out; the note counts them.
    Images are grey if all are, and else all are converted to colour; transparency is laid over black; of an animation
    the first frame counts. Raises `InputError` for a missing directory, no image, fewer than two classes, a class only
    in the test images, folders that may be classes or splits, an unreadable image, and images that differ in size when
    `config.size` is None.
    """
    root = _root(config)
    found = _split(root)
    names = tuple(found.train)
    whole, by_split = Whole(config.size, config.fit), {"train": found.train, "test": found.test}
    files = {split: [file for name in names for file in part.get(name, [])] for split, part in by_split.items()}
    labels = {
        split: np.repeat(np.arange(len(names), dtype=np.int32), [len(part.get(name, [])) for name in names])
        for split, part in by_split.items()
    }
    chosen = {
        split: choose(np.arange(len(files[split])), limit, split=split, name=printable(root))
        for split, limit in (("train", config.train_images), ("test", config.test_images))
    }
    paths = {split: [files[split][i] for i in chosen[split]] for split in chosen}
    side = config.size or max(look(paths["train"][0])[0])

    def read(progress: Report) -> Arrays:
        channels = _survey(paths["train"] + paths["test"], config.size, progress)
        arrays = {}
        for split in chosen:
            named = ((printable(path), path) for path in paths[split])
            what = f"decoding {printable(root.name)} {split}"
            arrays[f"{split}_images"] = decode(
                named, len(paths[split]), channels=channels, framing=whole, what=what, progress=progress
            )
            arrays[f"{split}_labels"] = labels[split][chosen[split]]
        return arrays

    def encoded(progress: Report) -> Splits:
        surveyed = cached(
            f"{config.name} channels",
            key,
            lambda: {"channels": np.int32(_survey(paths["train"] + paths["test"], config.size, progress))},
        )
        return Splits(
            {split: Files(root, paths[split]) for split in chosen},
            {split: labels[split][chosen[split]] for split in chosen},
            int(surveyed["channels"]),
        )

    taken = "; ".join(filter(None, [found.taken, describe_left_out(found.left_out)]))
    note = (
        f"images of the folder {printable(root.name)}{whole}; {len(paths['train']):,} to train, "
        f"{len(paths['test']):,} to test ({taken})"
    )
    key = {
        "files": fingerprint(files["train"] + files["test"]),
        "size": config.size,
        "counts": [len(paths["train"]), len(paths["test"])],
        **({} if config.fit == "stretch" else {"fit": config.fit}),
    }
    images = sum(map(len, paths.values()))
    return Source(tuple(map(printable, names)), side, None, note, read, key, images, encoded)


def _root(config: DataConfig) -> Path:
    if config.data_dir is None:
        raise InputError("data.name folder needs data.data_dir: a directory with one folder of images for each class")
    root = Path(config.data_dir).expanduser().resolve()
    if not root.is_dir():
        raise InputError(f"data.data_dir {printable(config.data_dir)} is not a directory")
    return root


class _Found(NamedTuple):
    """Images by class name, those for training and those for testing, how they were told apart, and what is left."""

    train: Classes
    test: Classes
    taken: str
    left_out: Counter[str]


def _split(root: Path) -> _Found:
    """Find the images of both splits; raises `InputError` where there are none, or fewer than two classes."""
    subfolders, beside = _subfolders(root)
    splits = splits_of(root, {path.name: outline(path) for path in subfolders})
    if splits is None:
        found, left_out = _classes(root)
        return _Found(*_every_fifth(root, found), f"{_EVERY} is for test", left_out)
    train, left_out = _classes(root / splits.train)
    _check_classes(root / splits.train, train)
    left_out += beside + Counter(dict.fromkeys((f"folder {printable(name)}" for name in splits.others), 1))
    held_out = [name for name in (splits.test, splits.validation) if name is not None]
    if not held_out:
        taken = f"{_EVERY} of its folder {printable(splits.train)} is for test"
        return _Found(*_every_fifth(root / splits.train, train), taken, left_out)
    tests = {name: _classes(root / name) for name in held_out}
    # Some test splits withhold their labels: a folder without classes.
    labelled = [name for name in held_out if tests[name][0]]
    if not labelled:
        raise _no_images(root / held_out[0])
    test, also_left_out = tests[labelled[0]]
    if unknown := sorted(set(test) - set(train)):
        raise InputError(
            f"{printable(root / labelled[0])} has classes that {printable(root / splits.train)} has not: "
            f"{printable(', '.join(unknown))}"
        )
    taken = f"its own {printable(splits.train)} and {printable(labelled[0])} folders"
    for name in held_out:
        if name != labelled[0]:
            taken += f"; {printable(name)} is not used" + ("" if tests[name][0] else ": it has no folders of classes")
    return _Found(train, test, taken, left_out + also_left_out)


def _every_fifth(root: Path, found: Classes) -> tuple[Classes, Classes]:
    _check_classes(root, found)
    train, test = {}, {}
    for name, files in found.items():
        for part, indices in zip((train, test), every(TEST_EVERY, np.zeros(len(files))), strict=True):
            part[name] = [files[i] for i in indices]
    if not any(test.values()):
        raise InputError(
            f"{printable(root)} has fewer than {TEST_EVERY} images in every class, and every {TEST_EVERY}th of a class "
            "is for test; add images, or make folders train and test"
        )
    return train, test


def _classes(folder: Path) -> tuple[Classes, Counter[str]]:
    """Return the images below each subfolder that has any, both in name order, and what was left out by kind."""
    subfolders, left_out = _subfolders(folder)
    found = {}
    for subfolder in subfolders:
        files, below = image_files(subfolder)
        left_out += below
        if files:
            found[subfolder.name] = files
    return found, left_out


def _subfolders(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Return the folders in `folder`, links to others included, and what else lies there by kind.

    A link that leads back, or to its neighbour, would give the same images twice.
    """
    found = contents(folder)
    here = folder.resolve()
    links = {link: link.resolve() for link in found.links}
    away = [link for link, to in links.items() if here != to and here not in to.parents and to not in here.parents]
    left_out = found.left_out + Counter({LINK: len(links) - len(away), "image beside the folders": len(found.images)})
    return sorted([*found.folders, *away]), left_out


def _check_classes(folder: Path, classes: Classes) -> None:
    if not classes:
        raise _no_images(folder)
    if len(classes) == 1:
        (name,) = classes
        below = sorted(outline(folder / name).folders)
        remedy = f"; if its folders are the classes, give data.data_dir {printable(folder / name)}" if below[1:] else ""
        raise InputError(
            f"{printable(folder)} has images of one class only ({printable(name)}); a network needs two or more to "
            f"tell apart{remedy}"
        )


def _no_images(folder: Path) -> InputError:
    return InputError(
        f"{printable(folder)} has no images in class folders, such as {printable(folder / 'cat' / '1.png')}; "
        f"files ending in {', '.join(SUFFIXES)} are read"
    )


def _survey(paths: Sequence[Path], size: int | None, progress: Report) -> int:
    """Return the channels of the images together, from their headers only, so that decoding is not begun in vain."""
    first = None
    colour = False
    for done, path in enumerate(paths, 1):
        shape, is_colour = look(path)
        first = first or shape
        if size is None and shape != first:
            raise differing_sizes(printable(path), shape, first)
        colour = colour or is_colour
        if done % 1000 == 0 or done == len(paths):
            progress(done, len(paths), "looking at image files")
    return 3 if colour else 1
