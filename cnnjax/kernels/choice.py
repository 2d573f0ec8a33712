"""Which convolutions a CPU computes by kernels, and which by XLA."""

import math

import numpy as np

from cnnjax.kernels.gather import gather_products
from cnnjax.kernels.geometry import Geometry, Pass
from cnnjax.kernels.vectors import Processor
from cnnjax.kernels.weight_gradient import weight_products

# Measured on a core of Zen 4 with AVX-512, XLA's time over the kernel's: with more weights forward and input gradient
# are 0.7 to 0.95, with fewer 1.0 to 8; weight gradients of so many weights over fewer pixels are 0.5 to 1.0.
_MOST_WEIGHTS = 1_000_000
_MOST_SUMS, _FEW_PIXELS = 65_536, 4096

_DTYPES = ("float32", "bfloat16", "float16")
_LEAST_OPERATIONS = 1e6  # in a call: below, compiling a kernel costs more than it saves
_PROCESSOR = Processor(lanes=16, registers=32)  # the choice is the same on all
_LEAST_NUMBERS = 131_072  # in a map that is added up: below, XLA takes no longer than the call
_MOST_PRODUCTS = 4000  # in the code of a kernel: LLVM takes a millisecond for each


def against_kernel(geometry: Geometry, which: Pass, *, copies: int, maps: int, dtype: np.dtype) -> str | None:
    """Why XLA computes this pass, over so many maps in so many copies, on a CPU; or None if a kernel does."""
    geometry = geometry.in_two_axes()
    if dtype.name not in _DTYPES:
        return f"sums of {dtype.name}"
    work = copies * maps * geometry.operations
    if work < _LEAST_OPERATIONS or not math.prod(geometry.out):
        return f"only {work:,} operations"
    weights, pixels = math.prod(geometry.kernel), maps * math.prod(geometry.out)
    many = weights > _MOST_WEIGHTS or (which == "weights" and weights > _MOST_SUMS and pixels < _FEW_PIXELS)
    if many and copies == 1:  # several at once are XLA's slowest
        return f"{weights:,} weights and {pixels:,} pixels"
    if geometry.groups > 1 and not geometry.depthwise and geometry.kernel[2] == 1:
        return "several features for each channel"
    if which == "weights":
        products = weight_products(geometry, _PROCESSOR)
    else:
        products = gather_products(geometry, _PROCESSOR, gradient=which == "input")
    if products > _MOST_PRODUCTS and not geometry.depthwise:
        return f"code of {products:,} products"
    return None


def against_sums(copies: int, positions: int, channels: int, *, dtype: np.dtype) -> str | None:
    """Why XLA adds up the positions of maps for each channel on a CPU, or None if a kernel does."""
    if dtype != np.float32:
        return f"sums of {dtype.name}"
    if (numbers := copies * positions * channels) < _LEAST_NUMBERS or not numbers:
        return f"only {numbers:,} numbers"
    return None
