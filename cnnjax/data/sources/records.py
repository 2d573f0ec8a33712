"""Records of a prepared tensorflow-datasets dataset by number, as they lie on the disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cnnjax.data.require import require


class Records:
    """Chosen records of a split, opened in each process that reads them."""

    def __init__(self, folder: Path, name: str, split: str, image_key: str, chosen: np.ndarray):
        self.folder, self.name, self.split, self.image_key, self.chosen = folder, name, split, image_key, chosen
        self.opened: Any = None

    def __len__(self) -> int:
        return len(self.chosen)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "opened": None}

    def read(self, indices: Sequence[int]) -> list[tuple[str, Path | bytes]]:
        """The name of each image and its bytes, as in `Encoded`."""
        if self.opened is None:
            tfds = require("tensorflow_datasets", purpose=f'the dataset "{self.name}"', install="cnnjax[tfds]")
            self.opened = undecoded(tfds, tfds.builder_from_directory(self.folder), self.split, self.image_key)
        numbers = self.chosen[indices].tolist()
        found = self.opened.__getitems__(numbers)
        return [
            (f"{number} of {self.name} {self.split}", record[self.image_key])
            for number, record in zip(numbers, found, strict=True)
        ]


def undecoded(tfds: Any, builder: Any, split: str, image_key: str) -> Any:
    """The records of a split by number, with their images as they are stored."""
    return builder.as_data_source(split=split, decoders={image_key: tfds.decode.SkipDecoding()})
