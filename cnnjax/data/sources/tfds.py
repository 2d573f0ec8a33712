"""Any image classification dataset of tensorflow-datasets that lies prepared on disk, read without TensorFlow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cnnjax.data.cache import cached, fingerprint
from cnnjax.data.config import DataConfig
from cnnjax.data.decode import decode
from cnnjax.data.framing import Whole
from cnnjax.data.require import require
from cnnjax.data.sources.prepared import find, preparation, unknown
from cnnjax.data.sources.records import Records, undecoded
from cnnjax.data.sources.source import Arrays, Source, Splits, choose
from cnnjax.errors import InputError
from cnnjax.reporting import Report

CANVASES = {"mnist": 36}
"""Default canvases: MNIST as stored, with room for shifts by 4 pixels."""

LOSSLESS = ("cifar10", "cifar100")
"""Datasets whose originals are lossless, so that a copy in JPEG is worth a word."""

TEST_EVERY = 5

BLOCK = 1024
"""Records read at once."""


def open_source(config: DataConfig) -> Source:
    """Describe a prepared dataset; `config.name` is `dataset[/configuration][:version]`.

    The test images are those of the split "test" if it is labelled, else "validation", else every fifth of "train".
    Raises `InputError` for an unknown name, a dataset that is not prepared, not in random-access files, or no image
    classification dataset, for images without a declared size when `config.size` is None, and a missing package.
    """
    tfds = _import(config)
    builder = tfds.builder_from_directory(find(config, tfds))
    image_key, label_key = _classification_keys(tfds, builder.info, config.name)
    side, channels = _shape(builder.info.features[image_key], config)
    whole, records = Whole(config.size, config.fit), _Records(tfds, builder, config.name, image_key, label_key)
    train_split, test_split = records.splits()
    available = {"train": records.indices(train_split), "test": records.indices(test_split)}
    if train_split == test_split:
        is_test = available["train"] % TEST_EVERY == TEST_EVERY - 1
        available = {"train": available["train"][~is_test], "test": available["test"][is_test]}
    chosen = {
        "train": choose(available["train"], config.train_images, split="train", name=config.name),
        "test": choose(available["test"], config.test_images, split="test", name=config.name),
    }

    def read(progress: Report) -> Arrays:
        arrays = {}
        for split, stored in (("train", train_split), ("test", test_split)):
            what = f"decoding {config.name} {split}"
            labels = np.empty(len(chosen[split]), np.int32)
            encoded = records.encoded(stored, chosen[split], labels)
            arrays[f"{split}_images"] = decode(
                encoded, len(labels), channels=channels, framing=whole, what=what, progress=progress
            )
            arrays[f"{split}_labels"] = labels
        return arrays

    def encoded(progress: Report) -> Splits:
        stored = {"train": train_split, "test": test_split}
        labels = cached(
            f"{config.name} labels",
            key,
            lambda: {split: records.labels(stored[split], chosen[split], progress) for split in stored},
        )
        folder = Path(builder.data_path)
        return Splits(
            {name: Records(folder, config.name, split, image_key, chosen[name]) for name, split in stored.items()},
            {split: np.asarray(labels[split]) for split in stored},
            channels,
        )

    taken = (
        f"every {TEST_EVERY}th record of the split {train_split} is for test"
        if train_split == test_split
        else f"splits {train_split} and {test_split}"
    )
    note = (
        f"{builder.info.full_name} of tensorflow-datasets{whole}; {len(chosen['train']):,} images to train, "
        f"{len(chosen['test']):,} to test ({taken})"
    )
    if config.name.partition(":")[0] in LOSSLESS and records.is_jpeg(train_split):
        note += "; the stored images are a JPEG copy of a lossless original"
    key = {
        "version": builder.info.full_name,
        "files": fingerprint([Path(file) for split in builder.info.splits.values() for file in split.filepaths]),
        "size": config.size,
        "channels": channels,
        "counts": [len(chosen["train"]), len(chosen["test"])],
        **({} if config.fit == "stretch" else {"fit": config.fit}),
    }
    names, images = tuple(builder.info.features[label_key].names), sum(map(len, chosen.values()))
    return Source(names, side, CANVASES.get(builder.info.name), note, read, key, images, encoded)


class _Records:
    """The records of a prepared dataset: encoded images and labels by split and index."""

    def __init__(self, tfds: Any, builder: Any, name: str, image_key: str, label_key: str):
        self.name, self.image_key, self.label_key = name, image_key, label_key
        self.stored = builder.info.splits
        if builder.info.file_format is None or builder.info.file_format.value != "array_record":
            raise InputError(
                f'"{name}" lies in {builder.data_path} in a format that cannot be read without TensorFlow; '
                "in another directory, " + preparation(name, "DIRECTORY")
            )
        self.open = lambda split: undecoded(tfds, builder, split, image_key)

    def splits(self) -> tuple[str, str]:
        """Return the splits of the training and the test images, the same when there is only one."""
        if "train" not in self.stored:
            raise InputError(f'"{self.name}" has no split "train" (it has {", ".join(self.stored)}); choose another')
        for split in ("test", "validation"):
            # Some test splits withhold their labels and say −1.
            if split in self.stored and self.open(split)[0][self.label_key] >= 0:
                return "train", split
        return "train", "train"

    def indices(self, split: str) -> np.ndarray:
        return np.arange(self.stored[split].num_examples)

    def is_jpeg(self, split: str) -> bool:
        return self.open(split)[0][self.image_key].startswith(b"\xff\xd8")

    def labels(self, split: str, indices: np.ndarray, progress: Report) -> np.ndarray:
        """The label of each record. They are beside the images, so all of the split is read for them."""
        found = np.empty(len(indices), np.int32)
        for done, _ in enumerate(self.encoded(split, indices, found), 1):
            if done % BLOCK == 0 or done == len(found):
                progress(done, len(found), f"reading the labels of {self.name} {split}")
        return found

    def encoded(self, split: str, indices: np.ndarray, labels: np.ndarray) -> Iterator[tuple[str, bytes]]:
        """Yield a name and the encoded image of each record, and write its label into `labels`."""
        source = self.open(split)
        for start in range(0, len(indices), BLOCK):
            block = indices[start : start + BLOCK].tolist()
            for place, (index, record) in enumerate(zip(block, source.__getitems__(block), strict=True), start):
                labels[place] = record[self.label_key]
                yield f"{index} of {self.name} {split}", record[self.image_key]


def _import(config: DataConfig) -> Any:
    try:
        require("array_record", purpose=f'the dataset "{config.name}"', install="cnnjax[tfds]")
        return require("tensorflow_datasets", purpose=f'the dataset "{config.name}"', install="cnnjax[tfds]")
    except InputError as error:
        # Without the package its names are not known, but a slip in an embedded one still is.
        raise InputError(f"{error}. If that name is a slip: {unknown(config, [])}") from error


def _classification_keys(tfds: Any, info: Any, name: str) -> tuple[str, str]:
    keys = info.supervised_keys
    if isinstance(keys, tuple) and len(keys) == 2 and all(isinstance(key, str) for key in keys):
        image, label = (dict(info.features.items()).get(key) for key in keys)
        if isinstance(image, tfds.features.Image) and isinstance(label, tfds.features.ClassLabel):
            return keys
    raise InputError(
        f'"{name}" is not an image classification dataset: it declares no pair of an image and a class label '
        f"(supervised keys: {keys}, features: {', '.join(info.features)})"
    )


def _shape(image: Any, config: DataConfig) -> tuple[int, int]:
    """Return the longer side of the decoded images and their number of channels."""
    height, width, channels = image.shape
    if np.dtype(image.np_dtype) != np.uint8:
        raise InputError(f'"{config.name}" holds images of {np.dtype(image.np_dtype)}; only uint8 images can be used')
    if config.size is None and (height is None or width is None):
        raise InputError(f'"{config.name}" declares no common size for its images; give data.size to resize them')
    return config.size or max(height, width), 1 if channels == 1 else 3
