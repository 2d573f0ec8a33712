"""Encoded images by number, as they lie on the disk."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from cnnjax.files import printable


@runtime_checkable
class Encoded(Protocol):
    """Encoded images by number. It is copied to other processes, and opens there what it reads."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> list[tuple[str, Path | bytes]]:
        """The name of each image, and its file or its bytes."""
        ...


class Files:
    """Image files below a folder. Their names are one array: a million of them make 50 MB, not 200."""

    def __init__(self, root: Path, paths: Sequence[Path]):
        self.root = root
        self.names = np.array([os.fsencode(path.relative_to(root)) for path in paths])

    def __len__(self) -> int:
        return len(self.names)

    def read(self, indices: Sequence[int]) -> list[tuple[str, Path | bytes]]:
        paths = [self.root / os.fsdecode(bytes(self.names[index])) for index in indices]
        return [(printable(path), path) for path in paths]
