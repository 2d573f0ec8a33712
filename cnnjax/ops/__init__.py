"""Pure functions of arrays: images (batch, height, width, channels) or signals (batch, length, channels), by rank.

Arrays are positional, the rest is keyword-only. k' = d (k − 1) + 1 is a window's size with its dilation.

- `conv`: `y[i] = Σ_j w[j] x[s i + d j − before]`, cross-correlation, as network libraries mean it
- `convolve`: `y[i] = Σ_j w[j] x[s i + d (k − 1 − j) − before]`, the kernel flipped
- `pad`: `y[i] = x[i − before]`, outside the map 0, the opposite border or the mirror image
- `output_size`: `⌊(n + before + after − k') / s⌋ + 1`
- `resolve_padding`: "same" is `before = (k' − 1) // 2`, `after = k' // 2`; likewise for every other `Padding`
- `max_pool`, `global_max_pool`: `y[i] = max_j x[s i + j − before]`; the gradient goes to the first of equals
- `avg_pool`, `global_avg_pool`: `y[i] = Σ_j x[s i + j − before] / |window|`; zeros of the padding count
- `shift`: `y[i] = x[i − offset]`, by whole pixels or by the Fourier phase
- `rotate`: `y[p] = x[R p]`, counter-clockwise about the centre
"""

from cnnjax.ops.convolution import conv, convolve
from cnnjax.ops.padding import Padding, ResolvedPadding, output_size, pad, resolve_padding
from cnnjax.ops.pooling import avg_pool, global_avg_pool, global_max_pool, max_pool
from cnnjax.ops.warps import rotate, shift

__all__ = [
    "Padding",
    "ResolvedPadding",
    "avg_pool",
    "conv",
    "convolve",
    "global_avg_pool",
    "global_max_pool",
    "max_pool",
    "output_size",
    "pad",
    "resolve_padding",
    "rotate",
    "shift",
]
