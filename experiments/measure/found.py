"""Everything that was measured of one network."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from cnnjax.sweep.protocol import Task
from experiments.measure.layers import Layers
from experiments.measure.scope import Values

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What each function of `cells`, `invariance` and `units` gave."""

    anatomy: Values
    layers: Layers
    todo: Mapping[str, Task]
    predictions: Arrays
    terms: Values
    lie: Values
    variance: Values
    effective: Values
    gradients: Values
    units: Mapping[str, Any]
    """Arrays by "unit=LAYER" and by check; empty for a network without rectifiers or maps."""
