"""Convolution by the convolution theorem: a product of spectra."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Num

from cnnjax.door import checked
from cnnjax.ops.convolution import check_operands
from cnnjax.ops.padding import Padding, fill_border, resolve_padding, spatial_shape


@checked()
def fft_convolve(
    x: Num[Array, "batch *space in_channels"],
    kernel: Num[Array, "*window group_channels out_channels"],
    *,
    padding: Padding = "full",
    groups: int = 1,
) -> Num[Array, "batch *resolution out_channels"]:
    """Convolve as `convolve` does with stride 1, by way of the Fourier domain.

    `F(w ∗ x) = F(w) F(x)`, summed over input channels there. Under "circular" the period is the map itself, into which
    a larger kernel wraps around. Every other padding is first given its border; of a circular convolution with the
    padded map as its period those outputs are kept that no wrap has reached, which are the "valid" ones.

    The cost is O(n log n) in the number n of pixels, whatever the window: it pays for large ones. Each output is within
    about `ε ‖w‖ ‖x‖` of the exact one, with the norms over the whole kernel and map, so that small outputs beside large
    ones are relatively less exact than those of `convolve`. bfloat16 and float16 are worked in float32, rounded once.

    Shapes, dtypes, padding, groups and errors are those of `convolve`. Source: Goodfellow, Bengio & Courville 2016,
    section 9.8.
    """
    input_size = spatial_shape(x)
    check_operands(x, kernel, groups=groups)
    *window, per_in, out = kernel.shape
    ones = (1,) * len(window)
    resolved = resolve_padding(padding, kernel_size=window, input_size=input_size, stride=ones, dilation=ones)
    circular = resolved.fill == "circular"
    wide = np.promote_types(x.dtype, np.float32)
    signal = (x if circular else fill_border(x, resolved)).astype(wide)
    period = signal.shape[1:-1]
    space = tuple(range(1, len(period) + 1))

    spectrum = jnp.fft.rfftn(signal, axes=space)
    weights = jnp.fft.rfftn(_wrapped(kernel.astype(wide), period), axes=tuple(a - 1 for a in space))
    # Channels of one group times its weights. Full precision, because accelerators may round the factors otherwise.
    product = jnp.einsum(
        "b...gc,...cgo->b...go",
        spectrum.reshape(*spectrum.shape[:-1], groups, per_in),
        weights.reshape(*weights.shape[:-2], per_in, groups, out // groups),
        precision=lax.Precision.HIGHEST,
    ).reshape(*spectrum.shape[:-1], out)
    y = jnp.fft.irfftn(product, s=period, axes=space)

    if circular:
        # `convolve` starts with the window centred on the first pixel, the theorem with its end there.
        y = jnp.roll(y, [-after for _, after in resolved.pairs], axis=space)
    else:
        y = y[:, *(slice(k - 1, None) for k in window)]
    return y.astype(x.dtype)


def _wrapped(kernel: Array, period: tuple[int, ...]) -> Array:
    """The kernel as one period of a signal: with zeros after it, or, if longer, the rest added from the start again."""
    for axis, n in enumerate(period):
        turns = -(-kernel.shape[axis] // n)
        widths = [(0, 0)] * kernel.ndim
        widths[axis] = (0, turns * n - kernel.shape[axis])
        shape = (*kernel.shape[:axis], turns, n, *kernel.shape[axis + 1 :])
        kernel = jnp.pad(kernel, widths).reshape(shape).sum(axis)
    return kernel
