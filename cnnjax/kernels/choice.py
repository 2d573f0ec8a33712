"""Which convolutions a CPU computes by kernels, and which by XLA."""

import math

import numpy as np

from cnnjax.kernels.gather import Gather, gather_products
from cnnjax.kernels.geometry import Geometry, Pass
from cnnjax.kernels.tiles import PLACES, tiles_of
from cnnjax.kernels.vectors import Processor
from cnnjax.kernels.weight_gradient import weight_products

# Measured on one core, XLA's time over the kernel's. Gradients of 147,456 to 2,359,296 weights in 3×3 windows over 64
# to 3,136 pixels: 1.0 to 1.6 (Zen 4, AVX-512); of 9,437,184, more than the caches hold, 0.75, and 0.55 on Zen 3 with
# AVX2. With so many, forward and input gradient are 1.2 and 2.5 (Zen 3, 256 pixels). For one tap XLA has products of
# matrices, as fast in a loop as outside: 0.8 to 1.1 with 1,048,576 weights on both.
_MOST_WEIGHTS = {"forward": 10_000_000, "input": 10_000_000, "weights": 2_500_000}
_MOST_OF_ONE_TAP = 1_000_000

# Input gradients of up to 4 channels, which fill the shortest vector at most, are 0.5 to 0.75 at a stride of 4 and 1.0
# at a stride of 2; those of 8 and 16 channels 2.0 at strides of 3 and 4.
_FEW_CHANNELS, _WIDE_STRIDE = 4, 4

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
    weights, most = math.prod(geometry.kernel), _MOST_OF_ONE_TAP if geometry.pointwise else _MOST_WEIGHTS[which]
    if weights > most and copies == 1:  # several at once are XLA's slowest
        return f"{weights:,} weights"
    if which == "input" and geometry.channels <= _FEW_CHANNELS and min(geometry.stride) >= _WIDE_STRIDE and copies == 1:
        return f"{geometry.channels} channels at a stride of {min(geometry.stride)}"
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


# What Winograd's tiles cost on the same core, in products that a window's own would be: for each tile beside the 16,
# for each channel read or made; for each pair of channels read and made, once a call, to transform the weights (many
# of them come from afar); and for each call. And how much more than that the window's own products must be.
_TILE = {"forward": 80, "input": 80, "weights": 110}
_WEIGHT, _FAR_WEIGHT, _MANY = 800, 2500, 300_000
_GRADIENT_OF_WEIGHT = 500  # in all its chunks
_CALL = 1e6
_GAIN = 1.1
# Weights: with 884,736 the window's own products are 1.5 times as fast on Zen 3, but for the gradient of the weights
# 1.6 times as slow on Zen 5.
_MOST_OF_TILES = {"forward": 600_000, "input": 600_000, "weights": 1_000_000}


def by_tiles(geometry: Geometry, which: Pass, *, maps: int) -> bool:
    """Whether a kernel computes this pass over maps of two axes by Winograd's tiles, not by the window's own products.

    Measured over them (Zen 4 with AVX-512, one core, both passes): 1.5 times as fast for 16 channels at 32² and 64 at
    8², 1.7 for 32 at 16² and 128 at 16², 1.8 for 64 at 32², 1.4 for 256 at 8²; slower for a map of 3 channels, which is
    left to the window's own, as are 3² and 5² for 64 channels. Weight gradients (Zen 5, one core): 1.4 times for 16
    channels at 32², 1.5 to 1.6 for 32 and 64, 1.7 to 1.8 for 128 and 256; 1.0 for 64 at 5² and for 512 at 7².
    """
    plain = geometry.window == (3, 3) and geometry.stride == geometry.dilation == (1, 1) and geometry.groups == 1
    weights = math.prod(geometry.kernel)
    if not plain or weights > _MOST_OF_TILES[which]:
        return False
    it = Gather(geometry, gradient=which == "input")
    # Products with the zeros around a map are left out of the window's own, but not out of a tile's.
    rows, columns = (sum(r is not None for tap in axis for r in tap) for axis in (it.rows, it.columns))
    pairs = geometry.channels * geometry.features
    weight = _GRADIENT_OF_WEIGHT if which == "weights" else _FAR_WEIGHT if weights > _MANY else _WEIGHT
    tiles = maps * tiles_of(geometry, gradient=which == "input").per_map
    cost = tiles * (PLACES * pairs + _TILE[which] * (geometry.channels + geometry.features)) + weight * pairs + _CALL
    return maps * rows * columns * pairs > _GAIN * cost
