"""Batches of images that memory does not hold: read and decoded ahead, by threads or by processes of Grain's.

Which images a batch has follows from the key and the step alone, and so does what is random about them; nothing has to
be kept to go on at the exact image.
"""

import contextlib
import importlib
import itertools
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, Key, UInt8

from cnnjax.data.order import epoch_order
from cnnjax.data.require import require
from cnnjax.data.stored import StoredImages
from cnnjax.door import checked
from cnnjax.door.limits import NotNegative, Positive
from cnnjax.errors import InputError

PART = 32
"""Images that are decoded in a row: a batch is made of such parts, so that workers share it."""

BLOCK = 32
"""Parts in a block of images that are all wanted: 1,024 images."""

EPOCHS, ORDERED = 64, 2**22
"""Epochs whose orders workers are told at once, and places of images in them; one epoch at least."""


@checked()
def streamed_batches(
    keys: Key[jax.Array, " networks"],
    images: StoredImages,
    labels: Int[np.ndarray, " images"],
    *,
    batch_size: Positive,
    start: NotNegative = 0,
    stop: NotNegative,
    process_index: NotNegative = 0,
    process_count: Positive = 1,
) -> Iterator[tuple[UInt8[np.ndarray, "networks rows height width channels"], Int[np.ndarray, "networks rows"]]]:
    """Yield, for each step from `start` to before `stop`, the batch of each key, and decode the next ones meanwhile.

    The images of an epoch are in the order `epoch_order(key, epoch, len(images))`; those left over by whole batches
    are left out. Random parts of images follow from the key, the epoch and the place in that order. Of several
    processes each gives the rows that are its own, in their order: together they are the batch of one. Close the
    iterator to end its workers before the last step.

    Raises `InputError` where Grain is not installed, for labels of other images, a batch that is larger than the data
    or does not divide among the processes, and an image that cannot be read.
    """
    if len(labels) != len(images):
        raise InputError(f"{len(labels)} labels for {len(images)} images: give one for each")
    if batch_size > len(images):
        raise InputError(f"batch_size={batch_size} is larger than the {len(images)} images: give fewer")
    if batch_size % process_count or process_index >= process_count:
        raise InputError(
            f"batch_size={batch_size} for process {process_index} of {process_count}: give a multiple of the number of "
            "processes, counted from 0"
        )
    return _batches(_grain(), keys, images, labels, batch_size, start, stop, process_index, process_count)


@checked()
def blocks(images: UInt8[np.ndarray, "images height width channels"] | StoredImages) -> Iterator[np.ndarray]:
    """Yield all images in their order, as many at a time as memory can hold: an array is one block.

    Raises `InputError` as `streamed_batches` does.
    """
    if not isinstance(images, StoredImages):
        return iter([images])
    return _blocks(_grain(), images)


def _grain() -> Any:
    return require("grain", purpose="decoding images in each epoch", install="cnnjax[stream]")


def _blocks(grain: Any, images: StoredImages) -> Iterator[np.ndarray]:
    with contextlib.closing(_decoded(grain, _Rows(images), images.workers, ahead=BLOCK)) as decoded:
        while parts := list(itertools.islice(decoded, BLOCK)):
            yield np.concatenate(parts)


class _Rows:
    """What workers do where all images are wanted, whole."""

    def __init__(self, images: StoredImages):
        self.images = images

    def __len__(self) -> int:
        return math.ceil(len(self.images) / PART)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.images[PART * index : PART * (index + 1)]


def _batches(
    grain: Any,
    keys: jax.Array,
    images: StoredImages,
    labels: np.ndarray,
    batch_size: int,
    start: int,
    stop: int,
    process_index: int,
    process_count: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    per_epoch, rows = len(images) // batch_size, batch_size // process_count
    together = min(EPOCHS, max(1, ORDERED // (len(images) * len(keys))))
    while start < stop:
        epoch = start // per_epoch
        until = min(stop, (epoch + together) * per_epoch)
        orders = [
            np.stack([np.asarray(epoch_order(key, one, len(images))) for key in keys])
            for one in range(epoch, math.ceil(until / per_epoch))
        ]
        steps = np.arange(start, until) - epoch * per_epoch
        places = (steps % per_epoch)[:, None] * batch_size + process_index * rows + np.arange(rows)
        of_step = len(keys) * math.ceil(rows / PART)
        parts = _Parts(images, jax.random.key_data(keys), epoch, orders, steps // per_epoch, places)
        with contextlib.closing(_decoded(grain, parts, images.workers, ahead=2 * of_step)) as decoded:
            for number, place in zip(steps // per_epoch, places, strict=True):
                pixels = np.empty((len(keys), rows, *images.shape[1:]), np.uint8)
                for mine in pixels:
                    for first in range(0, rows, PART):
                        mine[first : first + PART] = next(decoded)
                yield pixels, labels[orders[number][:, place]]
        start = until


class _Parts:
    """What workers do: part i of all batches, one after the other, as Grain asks for them."""

    def __init__(
        self,
        images: StoredImages,
        keys: jax.Array,
        epoch: int,
        orders: list[np.ndarray],
        epochs: np.ndarray,
        places: np.ndarray,
    ):
        self.images, self.keys, self.epoch, self.orders = images, np.asarray(keys), epoch, orders
        self.epochs, self.places = epochs, places
        self.of_batch = math.ceil(places.shape[1] / PART)

    def __len__(self) -> int:
        return len(self.places) * len(self.keys) * self.of_batch

    def __getitem__(self, index: int) -> np.ndarray:
        step, rest = divmod(int(index), len(self.keys) * self.of_batch)
        network, part = divmod(rest, self.of_batch)
        number = int(self.epochs[step])
        places = self.places[step, PART * part : PART * (part + 1)]
        seed = (*map(int, self.keys[network].ravel()), self.epoch + number)
        return self.images.decoded(self.orders[number][network, places], [(*seed, int(place)) for place in places])


def _decoded(grain: Any, parts: "_Parts | _Rows", workers: int, *, ahead: int) -> Generator[np.ndarray, None, None]:
    """The parts in their order, of which workers, or else threads, decode some `ahead`."""
    threads = 1 if workers else os.cpu_count() or 1
    ahead = 1 if workers else threads + ahead
    source = grain.MapDataset.source(parts)
    dataset = source.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead))
    if workers:
        flags = importlib.import_module("absl.flags").FLAGS
        if not flags.is_parsed():
            flags.mark_as_parsed()  # Grain asks for flags of its own, which only programs of absl's parse
        # Through pipes: shared memory is 64 MB in a container, where more ends the process without a word, and what a
        # killed one had of it stays. It would save a few hundredths of a millisecond for each image.
        piped = grain.experimental.DatasetOptions(min_shm_size=2**62)
        dataset = grain.experimental.WithOptionsIterDataset(dataset, piped)
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        dataset = dataset.mp_prefetch(options, worker_init_fn=_prepare_worker)
    iterator = iter(dataset)
    try:
        yield from iterator
    except RuntimeError as error:
        if "Worker process was terminated" not in str(error):
            raise
        raise InputError(
            f"a process that decodes images ended ({error}), perhaps for want of memory: give fewer data.workers; the "
            "same command goes on"
        ) from error
    finally:
        iterator.close()


def _prepare_worker(index: int, count: int) -> None:
    """End a worker with the process that started it, also where that is killed, and leave an interrupt to that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
