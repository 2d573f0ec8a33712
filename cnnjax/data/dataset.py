"""A dataset: decoded images of a training and a test split, with what a number about them must say."""

import importlib
from dataclasses import dataclass

import numpy as np

from cnnjax.data.cache import cached
from cnnjax.data.config import EMBEDDED, DataConfig, validate
from cnnjax.data.sources.source import Arrays, Source, check_memory
from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.reporting import Report, silent

SHOWN_CLASSES = 10
"""Classes that a line about a dataset names."""


@dataclass(frozen=True, repr=False)
class Split:
    """Images uint8 (n, height, width, channels) and their labels int32 (n,); for shapes the scenes float32 (n, 5)."""

    images: np.ndarray
    labels: np.ndarray
    scenes: np.ndarray | None = None

    def __repr__(self) -> str:
        count, *size = np.shape(self.images)
        return f"Split({count:,} images of {'×'.join(map(str, size))}{', scenes' * (self.scenes is not None)})"


@dataclass(frozen=True, repr=False)
class Dataset:
    """Two splits that share no image, and what is known about them.

    `mean` and `std` are the channel statistics of the training pixels, canvas included, on the scale [0, 1]; `margin`
    is the number of empty pixels on every side of an image (0: none); `note` is what to say beside a number.
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
def load(config: DataConfig, *, max_shift: int = 0, progress: Report = silent) -> Dataset:
    """Read the images that `config` names, centred on their canvas with room for shifts of `max_shift` pixels.

    Everything is validated before any image is decoded, and images are decoded once (see `cnnjax.data.cache`).
    `progress(done, total, text)` is called now and then while decoding.
    Raises `InputError` for an unknown name, absent or unreadable data, a missing package, and a canvas smaller than
    the image and the shifts on both sides.
    """
    validate(config)
    if max_shift < 0:
        raise InputError(f"max_shift={max_shift} must not be negative")
    source = _open(config)
    canvas = config.canvas or source.canvas
    if canvas is not None:
        check_canvas(canvas, source.side, max_shift)
    if source.key is None:
        arrays = source.read(progress)
    else:
        arrays = cached(config.name, source.key, lambda: source.read(progress))
    train, test = (_split(arrays, split, canvas) for split in ("train", "test"))
    mean, std = channel_statistics(train.images)
    margin, note = 0, source.note
    if canvas is not None:
        margin = (canvas - source.side) // 2
        note += f"; centred on a black {canvas}×{canvas} canvas"
    return Dataset(config.name, train, test, source.class_names, mean, std, margin, note)


def check_canvas(canvas: int, side: int, max_shift: int) -> None:
    """Raise `InputError` unless an image of `side` pixels stays on the canvas under every shift up to `max_shift`."""
    needed = side + 2 * max_shift
    if canvas < needed:
        shifts = f" shifted by up to {max_shift} on either side" if max_shift else ""
        smaller = f", or shift by at most {(canvas - side) // 2}" if canvas >= side and max_shift else ""
        raise InputError(
            f"a canvas of {canvas} pixels is too small for images of {side} pixels{shifts}; "
            f"use data.canvas {needed} or more{smaller}"
        )


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


def center(images: np.ndarray, canvas: int) -> np.ndarray:
    """Place images (n, height, width, channels) in the middle of black images (n, canvas, canvas, channels).

    Raises `InputError` where memory cannot hold them.
    """
    count, height, width, channels = images.shape
    if (height, width) == (canvas, canvas):
        return images
    check_memory(count, canvas, channels)
    placed = np.zeros((count, canvas, canvas, channels), images.dtype)
    top, left = (canvas - height) // 2, (canvas - width) // 2
    placed[:, top : top + height, left : left + width] = images
    return placed
