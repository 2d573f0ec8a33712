"""What each of PyTorch's operations computes, by its name and overload.

An operation takes the arguments of PyTorch's, arrays as `Laid`; options that say where and how an array is kept
(dtype, device, memory format) are left out, since a result is converted to the dtype that it has in the graph.
"""

from collections.abc import Callable, Mapping
from typing import Any

from cnnjax.models.bridge.operations import (
    arithmetic,
    layers,
    normalization,
    numbers,
    products,
    reductions,
    resizing,
    shapes,
)

Operations = Mapping[str, Callable[..., Any]]

ARITHMETIC: Operations = {**arithmetic.ARITHMETIC, **reductions.ARITHMETIC}
"""Operations whose operands are first converted to the dtype of the result."""
OTHERS: Operations = {
    **arithmetic.OTHERS,
    **reductions.OTHERS,
    **shapes.OPERATIONS,
    **layers.OPERATIONS,
    **normalization.OPERATIONS,
    **products.OPERATIONS,
    **resizing.OPERATIONS,
    **numbers.OPERATIONS,
}
KNOWN = frozenset([*ARITHMETIC, *OTHERS])
