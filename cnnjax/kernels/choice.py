"""Which convolutions a CPU computes by kernels, and which by XLA."""

import math

import numpy as np

from cnnjax.kernels.gather import gather_products
from cnnjax.kernels.geometry import Geometry, Pass
from cnnjax.kernels.vectors import Processor
from cnnjax.kernels.weight_gradient import weight_products

_DTYPES = ("float32", "bfloat16", "float16")
_LEAST_OPERATIONS = 1e6  # in a call: below, compiling a kernel costs more than it saves
_PROCESSOR = Processor(lanes=16, registers=32)  # the choice is the same on all
_MOST_PRODUCTS = 4000  # in the code of a kernel: LLVM takes a millisecond for each


def against_kernel(geometry: Geometry, which: Pass, *, maps: int, dtype: np.dtype) -> str | None:
    """Why XLA computes this pass over so many maps on a CPU, or None if a kernel does."""
    geometry = geometry.in_two_axes()
    if dtype.name not in _DTYPES:
        return f"sums of {dtype.name}"
    work = maps * geometry.operations
    if work < _LEAST_OPERATIONS or not math.prod(geometry.out):
        return f"only {work:,} operations"
    if geometry.groups > 1 and not geometry.depthwise and geometry.kernel[2] == 1:
        return "several features for each channel"
    if which == "weights":
        products = weight_products(geometry, _PROCESSOR)
    else:
        products = gather_products(geometry, _PROCESSOR, gradient=which == "input")
    if products > _MOST_PRODUCTS and not geometry.depthwise:
        return f"code of {products:,} products"
    return None
