"""Everything that was measured of one network."""

import dataclasses
from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """Everything that was measured."""

    tops: Mapping[str, Arrays]
    pasts: Mapping[str, Arrays]
    occluded: Arrays
    moved: Arrays
    checks: Mapping[str, Arrays]
    kernel: np.ndarray | None
