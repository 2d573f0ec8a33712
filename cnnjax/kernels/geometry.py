"""The sizes of one convolution, and which number of a map each tap of its window reads."""

import dataclasses
import math
from typing import Literal

Pass = Literal["forward", "input", "weights"]
"""The convolution, or one of its transposes: the gradient of its input or that of its weights."""


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A convolution of maps of one or two spatial axes; everything but the number of maps."""

    size: tuple[int, ...]
    channels: int
    features: int
    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    """Zeros before and after each axis; negative where the map is cropped."""
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def out(self) -> tuple[int, ...]:
        """The spatial size of the result."""
        axes = zip(self.size, self.window, self.stride, self.padding, self.dilation, strict=True)
        return tuple(max(0, (n + sum(p) - d * (k - 1) - 1) // s + 1) for n, k, s, p, d in axes)

    @property
    def maps(self) -> tuple[int, ...]:
        """The shape of one map that is read."""
        return (*self.size, self.channels)

    @property
    def made(self) -> tuple[int, ...]:
        """The shape of one map that is made."""
        return (*self.out, self.features)

    @property
    def kernel(self) -> tuple[int, ...]:
        """The shape of the weights."""
        return (*self.window, self.channels // self.groups, self.features)

    @property
    def operations(self) -> int:
        """Multiplications and additions for one map, products with the zeros of padding among them."""
        return 2 * math.prod(self.out) * math.prod(self.kernel)

    @property
    def depthwise(self) -> bool:
        """Whether every channel has a window of its own and gives one feature."""
        return self.channels == self.features == self.groups > 1

    @property
    def pointwise(self) -> bool:
        """Whether it is one product of matrices: every pixel of the result is made of one pixel of the map."""
        return self.groups == 1 and math.prod(self.window) == 1 and not any(map(any, self.padding))

    @property
    def name(self) -> str:
        """What sets it apart, in letters, digits and underscores."""
        numbers = [self.size, self.window, self.stride, [n for pair in self.padding for n in pair], self.dilation]
        spatial = ["x".join(str(n).replace("-", "m") for n in part) for part in numbers]
        return "_".join((*spatial, f"{self.channels}to{self.features}by{self.groups}"))

    def in_two_axes(self) -> "Geometry":
        """The same over maps of two axes: a signal is an image of one row."""
        if len(self.size) == 2:
            return self
        one = dict(size=(1,), window=(1,), stride=(1,), dilation=(1,), padding=((0, 0),))
        return dataclasses.replace(self, **{name: (*row, *getattr(self, name)) for name, row in one.items()})

    def read_at(self, axis: int, out: int, tap: int) -> int | None:
        """The position of the map that a tap reads for a position of the result; None outside."""
        place = out * self.stride[axis] + tap * self.dilation[axis] - self.padding[axis][0]
        return place if 0 <= place < self.size[axis] else None

    def brought_from(self, axis: int, place: int, tap: int) -> int | None:
        """The position of the result whose cotangent a tap brings to a position of the map; None for none."""
        out, rest = divmod(place + self.padding[axis][0] - tap * self.dilation[axis], self.stride[axis])
        return out if rest == 0 and 0 <= out < self.out[axis] else None
