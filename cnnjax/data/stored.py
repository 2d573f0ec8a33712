"""Images that stay on the disk, encoded, and are decoded each time they are asked for: more than memory holds."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from cnnjax.data.canvas import center
from cnnjax.data.decode import decode, decode_one
from cnnjax.data.encoded import Encoded
from cnnjax.data.framing import Part, Whole, draws_of
from cnnjax.errors import InputError


@dataclasses.dataclass(frozen=True, repr=False)
class StoredImages:
    """The images of a split, decoded when they are asked for: `images[rows]` is uint8 (rows, height, width, channels).

    `rows` is an index, a slice or an array of indices, as of a NumPy array; what comes is the whole image, as it is
    tested. `shape`, `dtype` and `len` are those of the array that memory does not hold; making that array raises
    `InputError`. In training, `streamed_batches` gives them.
    """

    encoded: Encoded
    whole: Whole
    shape: tuple[int, int, int, int]
    """(images, height, width, channels), any canvas included."""
    identity: str
    """Text that is another for other images."""
    crop_area: float | None = None
    """Least share of the area of an image that a random part in training has; None: training sees whole images."""
    canvas: int | None = None
    workers: int = 0
    """Processes that decode for training; 0: threads of this one."""

    dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"StoredImages({'×'.join(map(str, self.shape))})"

    def __getitem__(self, rows: Any) -> np.ndarray:
        chosen = np.arange(len(self))[rows]
        found = self.decoded(np.atleast_1d(chosen))
        return found if np.ndim(chosen) else found[0]

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise InputError(
            f"{self!r} is decoded from the disk where it is used and makes no array: take some rows, such as "
            "images[:1000], or load it into memory with a larger data.memory and without data.crop_area"
        )

    def decoded(self, indices: np.ndarray, draws: Sequence[Sequence[int]] | None = None) -> np.ndarray:
        """The images of these numbers: whole, or with `crop_area` the random parts that `draws` determine."""
        read = self.encoded.read([int(index) for index in indices])
        count, channels = len(read), self.shape[-1]
        if self.crop_area is None or draws is None:
            pixels = decode(read, count, channels=channels, framing=self.whole, what="decoding") if read else None
        else:
            assert self.whole.size is not None  # which a random part is resized to
            parts = [Part(self.whole.size, self.crop_area, draws_of(*numbers)) for numbers in draws]
            each = [decode_one(*one, channels, part) for one, part in zip(read, parts, strict=True)]
            pixels = np.stack(each) if each else None
        if pixels is None:
            return np.empty((0, *self.shape[1:]), np.uint8)
        return pixels if self.canvas is None else center(pixels, self.canvas)


Images = np.ndarray | StoredImages
"""uint8 (n, height, width, channels): in memory, or on the disk."""
