"""A convolution written out as the matrix it multiplies by."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.convolution import check_kernel
from cnnjax.ops.padding import PAD_MODES, Padding, ResolvedPadding, output_size, per_axis, resolve_padding

MAX_BYTES = 2**31  # a larger matrix is a mistake more often than a wish


@checked("groups")
def conv_matrix(
    kernel: Num[Array, "*window group_channels out_channels"],
    input_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "same",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Num[Array, "outputs inputs"]:
    """Write out the matrix A that `conv` multiplies by: `conv(x).reshape(batch, -1) = x.reshape(batch, -1) @ A.T`.

    `A[(i, o), (n, c)] = Σ_j w[j, c, o] [conv reads pixel n at position s i + d j − before]`.

    Rows run over output positions in row-major order and then output channels, columns over input positions and then
    input channels. Every entry is 0 or a weight, copied without arithmetic, in kernel's dtype; only where a border
    shows one pixel to a window twice is it a sum of weights. With one channel and stride 1 the matrix of a signal is
    Toeplitz under zero padding and circulant under "circular"; that of an image consists of such matrices as blocks,
    which are arranged in the same way.

    Kernel and options are those of `conv`; input_size is an int or one int per axis.
    Raises InputError for a matrix of more than 2 GiB, and as `conv` does.
    Source: Goodfellow, Bengio & Courville 2016, section 9.1; Dumoulin & Visin 2016, section 4.1.
    """
    rank = kernel.ndim - 2
    check_kernel(kernel, rank=rank, groups=groups)
    input_size = per_axis(input_size, rank, name="input_size")
    stride = per_axis(stride, rank, name="stride")
    dilation = per_axis(dilation, rank, name="dilation")
    *window, per_in, out = kernel.shape
    resolved = resolve_padding(padding, kernel_size=window, input_size=input_size, stride=stride, dilation=dilation)
    resolution = (
        output_size(n, k, stride=s, padding=(pair,), dilation=d)
        for n, k, s, pair, d in zip(input_size, window, stride, resolved.pairs, dilation, strict=True)
    )
    positions, pixels, taps, per_out = math.prod(resolution), math.prod(input_size), math.prod(window), out // groups
    rows, columns = positions * out, pixels * per_in * groups
    if rows * columns * kernel.dtype.itemsize > MAX_BYTES:
        raise InputError(
            f"the matrix would be {rows} × {columns}, {rows * columns * kernel.dtype.itemsize / 2**30:.1f} GiB; "
            f"at most {MAX_BYTES / 2**30:g} GiB is written out. Use a smaller map or fewer channels, or `conv` itself."
        )
    reads = _pixels_read(window, input_size, resolved, stride=stride, dilation=dilation)
    weights = jnp.moveaxis(kernel.reshape(taps, per_in, groups, per_out), 1, -1)
    matrix = jnp.zeros((positions, groups, per_out, pixels, groups, per_in), kernel.dtype)
    position, group = np.arange(positions)[:, None, None], np.arange(groups)
    written = matrix.at[position, group, :, reads[..., None], group].add(weights, mode="drop")
    return written.reshape(rows, columns)


def _pixels_read(
    window: Sequence[int],
    input_size: Sequence[int],
    padding: ResolvedPadding,
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
) -> np.ndarray:
    """The number of the pixel that each window (row) reads with each of its taps (column); past the last for none."""
    pixels = math.prod(input_size)
    # Counted from 1, because what `numpy.pad` puts where there is nothing is 0.
    numbered = np.pad(np.arange(1, pixels + 1).reshape(input_size), padding.pairs, mode=PAD_MODES[padding.fill])
    spans = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(numbered, spans)
    seen = seen[tuple(slice(None, None, step) for step in (*stride, *dilation))]
    return (seen.reshape(-1, math.prod(window)) - 1) % (pixels + 1)
