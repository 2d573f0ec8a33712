"""What annotations say beyond a type: `Positive`, `Annotated[ArrayLike, Shape("height width")]`."""

import dataclasses
from typing import Annotated, Any, TypeAlias

import numpy as np

from cnnjax.door.arrays import check_shape
from cnnjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """A number that is not below `least`."""

    least: int

    def check(self, name: str, value: Any) -> None:
        """Raise InputError for a smaller one."""
        if value < self.least:
            raise InputError(f"{name}={value} must be at least {self.least}.")


@dataclasses.dataclass(frozen=True)
class Shape:
    """An array with these axes, as jaxtyping writes them."""

    axes: str

    def check(self, name: str, value: Any) -> None:
        """Raise InputError for another rank."""
        check_shape(name, np.shape(value), self.axes.split())


Positive: TypeAlias = Annotated[int, AtLeast(1)]
NotNegative: TypeAlias = Annotated[int, AtLeast(0)]
