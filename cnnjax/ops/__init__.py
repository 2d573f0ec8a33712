"""Pure functions of arrays: images (batch, height, width, channels) or signals (batch, length, channels), by rank.

Arrays are positional, the rest is keyword-only. k' = d (k − 1) + 1 is a window's size with its dilation.

- `conv`: `y[i] = Σ_j w[j] x[s i + d j − before]`, cross-correlation, as network libraries mean it
- `convolve`: `y[i] = Σ_j w[j] x[s i + d (k − 1 − j) − before]`, the kernel flipped
- `fft_convolve`: `F(y) = F(w) F(x)`, the same by the convolution theorem
- `conv_transpose`: `⟨conv(x), y⟩ = ⟨x, conv_transpose(y)⟩`, the adjoint
- `conv_matrix`: `y = A x`, the matrix written out
- `pad`: `y[i] = x[i − before]`, outside the map 0, the opposite border or the mirror image
- `output_size`: `⌊(n + before + after − k') / s⌋ + 1`; with `ceil_mode`, of pools, rounded up
- `resolve_padding`: "same" is `before = (k' − 1) // 2`, `after = k' // 2`; likewise for every other `Padding`
- `max_pool`, `global_max_pool`: `y[i] = max_j x[s i + d j − before]`; the gradient goes to the first of equals
- `avg_pool`, `global_avg_pool`: `y[i] = Σ_j x[s i + j − before] / |window|`; zeros of the padding count, or not
- `lp_pool`: `y[i] = (Σ_j |x[s i + j − before]|^p)^(1/p)`
- `max_pool_with_switches`: `max_pool` and `switches[i] = argmax_j x[s i + d j − before]`, j in row-major order
- `max_unpool`: `x[n] = Σ y[i]` over the windows i whose switch names n: the transpose of `max_pool` at these switches
- `avg_unpool`: `⟨avg_pool(x), y⟩ = ⟨x, avg_unpool(y)⟩`, the adjoint
- `blur_pool`: `y[i] = Σ_j C(taps − 1, j) / 2^(taps − 1) x[s i + j − before]`, in the plane for each axis
- `max_blur_pool`: `y = blur_pool(max_pool(x, stride 1))`
- `fourier_resample`: `y[i] = Σ_k X[k] exp(2πi k p_i / n) / n`, the ideal low pass of both grids, `p_i` on the other one
- `alias_free_pool`: `fourier_resample` to `⌈n / s⌉` points: an ideal low pass before sampling
- `alias_free`: `y = D f(U x)`, f on a finer grid between two `fourier_resample`s
- `polyphase_pool`, `polyphase_pool_with_phase`: `y[i] = x[s i + r]`, `r = argmax_r ‖x[s · + r]‖` for each image
- `polyphase_components`: `x_r[i] = x[s i + r]` for every phase r in row-major order
- `select_phase`: `y[i] = x[s i + r]` for a given phase r of each image
- `polyphase_unpool`: `x[s i + r] = y[i]`, elsewhere 0: the adjoint of `select_phase`
- `local_response_norm`: `y[c] = x[c] / (k + α Σ_{|j − c| ≤ size / 2} x[j]²)^β`, over channels, as in AlexNet
- `shift`: `y[i] = x[i − offset]`, by whole pixels; `Fill` is what comes in
- `fourier_shift`: `Y[k] = exp(−2πi k · offset / n) X[k]`, by any real offset, circularly
- `crop`: `y[i] = x[corner + i]`, i below a static size
- `flip`: `y[i] = x[n − 1 − i]`, for each image or not
- `rotate`: `y[p] = x[R p]`, counter-clockwise about the centre
- `scale`: `y[p] = x[p / factor]`, about the centre
- `grayscale`: `y_c = 0.299 R + 0.587 G + 0.114 B`, the luma in every channel
- `rolling_guidance`: `y_{t + 1}[p] = Σ_q w(p, q) x[q] / Σ_q w(p, q)`, w by distance in the plane and in y_t
- `lifting_conv`: `y[g] = Σ_p (g w)[p] x[p]`, a map for each turn g of the kernel ("p4", with mirror images "p4m")
- `group_conv`: `y[g] = Σ_{h, p} (g w)[p, h] x[p, h]`, from maps over the group to maps over the group
- `group_pool`: `y[p] = max_g x[p, g]`, or the mean
- `group_action`: `(g x)[p, h] = x[g⁻¹ p, g⁻¹ h]`, what lifting, group convolution and pooling commute with
"""

from cnnjax.ops.antialiasing import blur_pool, max_blur_pool
from cnnjax.ops.band_limits import alias_free, alias_free_pool, fourier_resample
from cnnjax.ops.color import grayscale
from cnnjax.ops.convolution import conv, convolve
from cnnjax.ops.crop_flip import crop, flip
from cnnjax.ops.edge_preserving import rolling_guidance
from cnnjax.ops.fourier import fft_convolve
from cnnjax.ops.group_convolution import group_conv, group_pool, lifting_conv
from cnnjax.ops.groups import group_action
from cnnjax.ops.local_response import local_response_norm
from cnnjax.ops.lp_pooling import lp_pool
from cnnjax.ops.matrix import conv_matrix
from cnnjax.ops.padding import Fill, Padding, ResolvedPadding, output_size, pad, resolve_padding
from cnnjax.ops.polyphase import (
    polyphase_components,
    polyphase_pool,
    polyphase_pool_with_phase,
    polyphase_unpool,
    select_phase,
)
from cnnjax.ops.pooling import avg_pool, global_avg_pool, global_max_pool, max_pool
from cnnjax.ops.shifting import fourier_shift, shift
from cnnjax.ops.transposed import conv_transpose
from cnnjax.ops.unpooling import avg_unpool, max_pool_with_switches, max_unpool
from cnnjax.ops.warps import rotate, scale

__all__ = [
    "Fill",
    "Padding",
    "ResolvedPadding",
    "alias_free",
    "alias_free_pool",
    "avg_pool",
    "avg_unpool",
    "blur_pool",
    "conv",
    "conv_matrix",
    "conv_transpose",
    "convolve",
    "crop",
    "fft_convolve",
    "flip",
    "fourier_resample",
    "fourier_shift",
    "global_avg_pool",
    "global_max_pool",
    "grayscale",
    "group_action",
    "group_conv",
    "group_pool",
    "lifting_conv",
    "local_response_norm",
    "lp_pool",
    "max_blur_pool",
    "max_pool",
    "max_pool_with_switches",
    "max_unpool",
    "output_size",
    "pad",
    "polyphase_components",
    "polyphase_pool",
    "polyphase_pool_with_phase",
    "polyphase_unpool",
    "resolve_padding",
    "rolling_guidance",
    "rotate",
    "scale",
    "select_phase",
    "shift",
]
