"""The user's own images: a directory with one folder for each class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnnjax.data.cache import fingerprint
from cnnjax.data.config import DataConfig
from cnnjax.data.decode import decode, differing_sizes, look
from cnnjax.data.sources.source import Arrays, Progress, Source, choose, every
from cnnjax.errors import InputError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

TEST_EVERY = 5


def open_source(config: DataConfig) -> Source:
    """Describe the images in the class folders of `config.data_dir`, or of its `train` and `test` folders.

    Without those two, every fifth file of each class in name order is for test. Images are grey if all are, and else
    all are converted to colour; transparency is laid over black; of an animation the first frame counts.
    Raises `InputError` for a missing directory, no image, fewer than two classes, a class only in `test`, an
    unreadable image, and images that differ in size when `config.size` is None.
    """
    root = _root(config)
    classes, files, labels, taken = _split(root)
    chosen = {
        split: choose(np.arange(len(files[split])), limit, split=split, name=str(root))
        for split, limit in (("train", config.train_images), ("test", config.test_images))
    }
    paths = {split: [files[split][i] for i in chosen[split]] for split in chosen}
    side = config.size or max(look(paths["train"][0])[0])

    def read(progress: Progress | None) -> Arrays:
        channels = _survey(paths["train"] + paths["test"], config.size, progress)
        arrays = {}
        for split in chosen:
            named = ((str(path), path) for path in paths[split])
            what = f"decoding {root.name} {split}"
            arrays[f"{split}_images"] = decode(
                named, len(paths[split]), channels=channels, size=config.size, what=what, progress=progress
            )
            arrays[f"{split}_labels"] = labels[split][chosen[split]]
        return arrays

    resized = f", resized to {config.size}×{config.size}" if config.size else ""
    note = (
        f"images of the folder {root.name}{resized}; {len(paths['train']):,} to train, {len(paths['test']):,} to test "
        f"({taken})"
    )
    key = {
        "files": fingerprint(files["train"] + files["test"]),
        "size": config.size,
        "counts": [len(paths["train"]), len(paths["test"])],
    }
    return Source(classes, side, None, note, read, key)


def _root(config: DataConfig) -> Path:
    if config.data_dir is None:
        raise InputError("data.name folder needs data.data_dir: a directory with one folder of images for each class")
    root = Path(config.data_dir).expanduser().resolve()
    if not root.is_dir():
        raise InputError(f"data.data_dir {config.data_dir} is not a directory")
    return root


def _split(root: Path) -> tuple[tuple[str, ...], dict[str, list[Path]], dict[str, np.ndarray], str]:
    """Return class names, files and labels of both splits, and how the split was made."""
    if (root / "train").is_dir() and (root / "test").is_dir():
        train, test = _classes(root / "train"), _classes(root / "test")
        if unknown := sorted(set(test) - set(train)):
            raise InputError(f"{root / 'test'} has classes that {root / 'train'} has not: {', '.join(unknown)}")
        _check_classes(root / "train", train)
        if not test:
            raise _no_images(root / "test")
        taken = "its own train and test folders"
    else:
        found = _classes(root)
        _check_classes(root, found)
        train, test = {}, {}
        for name, files in found.items():
            for part, indices in zip((train, test), every(TEST_EVERY, np.zeros(len(files))), strict=True):
                part[name] = [files[i] for i in indices]
        if not any(test.values()):
            raise InputError(
                f"{root} has fewer than {TEST_EVERY} images in every class, and every {TEST_EVERY}th of a class is "
                "for test; add images, or make folders train and test"
            )
        taken = f"every {TEST_EVERY}th file of each class in name order is for test"
    names = tuple(train)
    files = {
        split: [file for name in names for file in part.get(name, [])]
        for split, part in (("train", train), ("test", test))
    }
    labels = {
        split: np.repeat(np.arange(len(names), dtype=np.int32), [len(part.get(name, [])) for name in names])
        for split, part in (("train", train), ("test", test))
    }
    return names, files, labels, taken


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Return the image files below each subfolder that has any, both in name order; hidden ones do not count."""
    found = {}
    for subfolder in sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        files = sorted(
            file
            for file in subfolder.rglob("*")
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
        )
        if files:
            found[subfolder.name] = files
    return found


def _check_classes(folder: Path, classes: dict[str, list[Path]]) -> None:
    if not classes:
        raise _no_images(folder)
    if len(classes) == 1:
        raise InputError(
            f"{folder} has images of one class only ({next(iter(classes))}); a network needs two or more to tell apart"
        )


def _no_images(folder: Path) -> InputError:
    return InputError(
        f"{folder} has no images in class folders, such as {folder / 'cat' / '1.png'}; "
        f"files ending in {', '.join(SUFFIXES)} are read"
    )


def _survey(paths: Sequence[Path], size: int | None, progress: Progress | None) -> int:
    """Return the channels of the images together, from their headers alone, so that decoding is not begun in vain."""
    first = None
    colour = False
    for done, path in enumerate(paths, 1):
        shape, is_colour = look(path)
        first = first or shape
        if size is None and shape != first:
            raise differing_sizes(str(path), shape, first)
        colour = colour or is_colour
        if progress is not None and (done % 1000 == 0 or done == len(paths)):
            progress("looking at image files", done, len(paths))
    return 3 if colour else 1
