"""A dataset: images of a training and a test split, with what a number about them must say."""

import dataclasses
import importlib
import json
import os
from dataclasses import dataclass

import numpy as np

from cnnjax import runtime
from cnnjax.data.cache import cached
from cnnjax.data.canvas import center, check_canvas
from cnnjax.data.config import EMBEDDED, DataConfig, validate
from cnnjax.data.framing import Whole
from cnnjax.data.sources.source import Arrays, Source
from cnnjax.data.stored import Images, StoredImages
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.reporting import Report, silent

SHOWN_CLASSES = 10
"""Classes that a line about a dataset names."""

SAMPLE = 2000
"""Training images from which the channel statistics of images that are not in memory are taken."""


@dataclass(frozen=True, repr=False)
class Split:
    """Images uint8 (n, height, width, channels) and their labels int32 (n,); for shapes the scenes float32 (n, 5).

    The images are an array, or `StoredImages`, of which memory holds those that are asked for.
    """

    images: Images
    labels: np.ndarray
    scenes: np.ndarray | None = None

    @property
    def array(self) -> np.ndarray:
        """The images in memory; raises `InputError` where they stay on the disk."""
        return np.asarray(self.images)

    def __repr__(self) -> str:
        count, *size = np.shape(self.images)
        return f"Split({count:,} images of {'×'.join(map(str, size))}{', scenes' * (self.scenes is not None)})"


@dataclass(frozen=True, repr=False)
class Dataset:
    """Two splits that share no image, and what is known about them.

    `mean` and `std` are the channel statistics of the training pixels, canvas included, on the scale [0, 1], of 2,000
    images where memory does not hold all; `margin` is the number of empty pixels on every side of an image (0: none);
    `note` is what to say beside a number.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    margin: int
    note: str

    def __repr__(self) -> str:
        return f"Dataset({self.name}, {len(self.class_names)} classes, train={self.train}, test={self.test})"

    @property
    def chance(self) -> float:
        """The accuracy of always answering the class that most test images are of: what a network has to beat."""
        return float(np.bincount(self.test.labels).max() / len(self.test.labels))

    def describe_classes(self) -> str:
        """Say how many images each class has: `2 classes, images to train + to test: cat: 8 + 2, dog: 8 + 2`."""
        total = len(self.class_names)
        counts = [np.bincount(split.labels, minlength=total) for split in (self.train, self.test)]
        rows = list(zip(self.class_names, *counts, strict=True))
        shown = ", ".join(f"{name}: {train:,} + {test:,}" for name, train, test in rows[:SHOWN_CLASSES])
        if total > SHOWN_CLASSES:
            least, most = (f"{take(counts[0]):,} + {take(counts[1]):,}" for take in (np.min, np.max))
            shown += f" and {total - SHOWN_CLASSES:,} more, in all from {least} to {most}"
        return f"{total:,} classes, images to train + to test: {shown}"


@checked()
def load(config: DataConfig, *, max_shift: int = 0, stream: bool = False, progress: Report = silent) -> Dataset:
    """Read the images that `config` names, centred on their canvas with room for shifts of `max_shift` pixels.

    Everything is validated before any image is decoded, and images are decoded once (see `cnnjax.data.cache`).
    With `stream`, files and records of more than `config.memory` gigabytes, and those to be seen in random parts, are
    not: their splits are `StoredImages`.
    `progress(done, total, text)` is called now and then while decoding.
    Raises `InputError` for an unknown name, absent or unreadable data, a missing package, a canvas smaller than
    the image and the shifts on both sides, and without `stream` for images that would be such.
    """
    validate(config)
    if max_shift < 0:
        raise InputError(f"max_shift={max_shift} must not be negative")
    source = _open(config)
    canvas = config.canvas or source.canvas
    if canvas is not None:
        check_canvas(canvas, source.side, max_shift)
    if _stays_stored(config, source, canvas, stream=stream):
        return _stored(config, source, canvas, progress)
    if source.key is None:
        arrays = source.read(progress)
    else:
        arrays = cached(config.name, source.key, lambda: source.read(progress))
    train, test = (_split(arrays, split, canvas) for split in ("train", "test"))
    mean, std = channel_statistics(train.array)
    return _dataset(config.name, source, canvas, train, test, mean, std, source.note)


def _dataset(
    name: str,
    source: Source,
    canvas: int | None,
    train: Split,
    test: Split,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    note: str,
) -> Dataset:
    margin = 0
    if canvas is not None:
        margin = (canvas - source.side) // 2
        note += f"; centred on a black {canvas}×{canvas} canvas"
    return Dataset(name, train, test, source.class_names, mean, std, margin, note)


def _stays_stored(config: DataConfig, source: Source, canvas: int | None, *, stream: bool) -> bool:
    """Whether the images are decoded where they are used; raises `InputError` where that is needed and is not to be."""
    side = canvas or source.side
    needed, allowed = source.images * side**2 * 3 / 1e9, _memory(config)
    if config.crop_area is not None:
        if source.encoded is None:
            raise InputError(f"data.crop_area is {config.crop_area}, but {config.name} is made in memory: leave it out")
        why, remedy = f"data.crop_area is {config.crop_area}, so images are decoded in each epoch", "leave it out"
    elif source.encoded is not None and needed > allowed:
        why = (
            f"{source.images:,} images of {side}×{side} pixels take {needed:.3g} GB, and data.memory is {allowed:.3g}, "
            "so they would be decoded in each epoch"
        )
        remedy = "raise it, or give fewer images (data.train_images, data.test_images) or smaller ones (data.size)"
    else:
        return False
    if not stream:
        raise InputError(f"{why}, and this needs them in memory: {remedy}; experiments.recipe does not")
    return True


def _memory(config: DataConfig) -> float:
    """Gigabytes of decoded images that may lie in memory: half of the machine's, or of an accelerator's if less."""
    if config.memory is not None:
        return config.memory
    known = [runtime.device_memory()]
    if hasattr(os, "sysconf"):
        known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min((memory for memory in known if memory is not None), default=np.inf) / 2 / 1e9


def _stored(config: DataConfig, source: Source, canvas: int | None, progress: Report) -> Dataset:
    """The dataset whose images stay on the disk."""
    assert source.encoded is not None
    assert source.key is not None
    found = source.encoded(progress)
    splits = {}
    for name, encoded in found.encoded.items():
        images = StoredImages(
            encoded,
            Whole(config.size, config.fit),
            (1, 1, 1, found.channels),
            json.dumps(source.key, sort_keys=True),
            crop_area=config.crop_area,
            canvas=canvas,
            workers=runtime.cores_beside() if config.workers is None else config.workers,
        )
        size = images[0].shape
        splits[name] = Split(dataclasses.replace(images, shape=(len(encoded), *size)), found.labels[name])
    train, test = splits["train"], splits["test"]
    key = {**source.key, "canvas": canvas, "sample": SAMPLE}
    sampled = cached(
        f"{config.name} statistics",
        key,
        lambda: dict(zip(("mean", "std"), channel_statistics(train.images[:SAMPLE]), strict=True)),
    )
    note = f"{source.note}; decoded in each epoch"
    if config.crop_area is not None:
        note += f", random parts of at least {config.crop_area:g} of the area to train"
    if len(train.images) > SAMPLE:
        note += f"; mean and deviation of pixels from {SAMPLE:,} of them"
    mean, std = (tuple(map(float, sampled[name])) for name in ("mean", "std"))
    return _dataset(config.name, source, canvas, train, test, mean, std, note)


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel of uint8 (n, height, width, channels), scaled to [0, 1]."""
    channels = [np.zeros(256, np.int64) for _ in range(images.shape[-1])]
    for block in np.array_split(images, max(1, len(images) // 2048)):
        for channel, histogram in enumerate(channels):
            histogram += np.bincount(block[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    weights = [histogram / histogram.sum() for histogram in channels]
    means = [float(levels @ weight) for weight in weights]
    stds = [float(np.sqrt((levels - mean) ** 2 @ weight)) for mean, weight in zip(means, weights, strict=True)]
    return tuple(means), tuple(stds)


def _open(config: DataConfig) -> Source:
    module = config.name if config.name in EMBEDDED else "tfds"
    return importlib.import_module(f"cnnjax.data.sources.{module}").open_source(config)


def _split(arrays: Arrays, split: str, canvas: int | None) -> Split:
    images = arrays[f"{split}_images"]
    if canvas is not None:
        images = center(images, canvas)
    return Split(images, arrays[f"{split}_labels"], arrays.get(f"{split}_scenes"))
