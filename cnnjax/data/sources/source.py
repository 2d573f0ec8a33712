"""What every source of images gives: a description before any image is decoded, and a way to read them."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cnnjax.data.encoded import Encoded
from cnnjax.errors import InputError
from cnnjax.reporting import Report

Arrays = dict[str, np.ndarray]
"""`train_images`, `train_labels`, `test_images`, `test_labels`, and for shapes `train_scenes`, `test_scenes`."""


class Splits(NamedTuple):
    """Encoded images and int32 labels of the splits "train" and "test", and the channels they are decoded to."""

    encoded: Mapping[str, Encoded]
    labels: Mapping[str, np.ndarray]
    channels: int


@dataclass(frozen=True)
class Source:
    """Images that can be read, and what is known about them beforehand.

    `side` is the longer side of an image in pixels, after any resizing; `canvas` the default canvas (None: images
    stay as they are); `key` identifies the decoded arrays for the cache (None: reading is as quick as a cache).
    """

    class_names: tuple[str, ...]
    side: int
    canvas: int | None
    note: str
    read: Callable[[Report], Arrays]
    key: Mapping[str, object] | None = None
    images: int = 0
    """How many there are in both splits, where they can stay encoded."""
    encoded: Callable[[Report], Splits] | None = None
    """Gives the images as they are stored; None: they are made in memory."""


def check_memory(count: int, side: int, channels: int) -> None:
    """Raise `InputError` for so many images of `side`×`side` pixels that the machine's memory cannot hold them."""
    if not hasattr(os, "sysconf"):
        return
    needed, there = count * side**2 * channels, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise InputError(
            f"{count:,} images of {side}×{side} pixels take {needed / 1e9:,.0f} GB, and the machine has "
            f"{there / 1e9:,.0f} GB; give fewer (data.train_images, data.test_images) or smaller ones (data.canvas)"
        )


def mixed_order(count: int) -> np.ndarray:
    """Return a fixed permutation of `range(count)`, any beginning of which is spread evenly over the whole.

    Stored orders are often sorted by class or periodic in it; multiples of the golden ratio, taken modulo 1 and
    sorted, mix both (Knuth, The Art of Computer Programming 3, section 6.4), the same on every platform and version.
    """
    hashed = np.arange(count, dtype=np.uint64) * np.uint64(2654435769) % np.uint64(2**32)
    return np.argsort(hashed, kind="stable")


def choose(indices: np.ndarray, limit: int | None, *, split: str, name: str) -> np.ndarray:
    """Return the first `limit` (None: all) of `indices` in mixed order, or raise `InputError` if there are fewer."""
    if limit is not None and limit > len(indices):
        raise InputError(
            f"data.{split}_images is {limit}, but {name} has {len(indices)} {split} images; "
            f"give at most {len(indices)}, or leave it out for all"
        )
    return indices[mixed_order(len(indices))[:limit]]


def every(step: int, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return indices `(train, test)`: of each class, in stored order, every `step`-th image is for test."""
    rank = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = labels == label
        rank[members] = np.arange(members.sum())
    is_test = rank % step == step - 1
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)
