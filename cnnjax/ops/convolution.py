"""Convolution as network libraries mean it (cross-correlation), and as mathematics means it (the kernel flipped)."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Num

from cnnjax.door import checked
from cnnjax.door.words import in_line
from cnnjax.errors import InputError
from cnnjax.kernels import Geometry, convolution
from cnnjax.ops.padding import Padding, as_int, fill_border, per_axis, resolve_padding, spatial_shape


@checked("groups")
def conv(
    x: Num[Array, "batch *space in_channels"],
    kernel: Num[Array, "*window group_channels out_channels"],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "same",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Num[Array, "batch *resolution out_channels"]:
    """Cross-correlate a batch of signals or images with a kernel.

    `y[b, i, o] = Σ_{j, c} w[j, c, o] · x[b, s i + d j − before, c]`, i and j over the spatial axes, c over the input
    channels of o's group, which is number `o // (out_channels / groups)`.

    x is (batch, length, channels) and kernel (length, in / groups, out), or x is (batch, height, width, channels) and
    kernel (height, width, in / groups, out); both of one floating-point dtype, which is the result's too.
    stride and dilation are an int or one int per axis; sizes follow `output_size`.

    Raises InputError for ranks, dtypes, channels or groups that do not fit, and as `resolve_padding` does.
    Source: Dumoulin & Visin 2016, sections 2 and 5.1.
    """
    input_size = spatial_shape(x)
    rank = len(input_size)
    check_operands(x, kernel, groups=groups)
    stride = per_axis(stride, rank, name="stride")
    dilation = per_axis(dilation, rank, name="dilation")
    resolved = resolve_padding(
        padding, kernel_size=kernel.shape[:rank], input_size=input_size, stride=stride, dilation=dilation
    )
    # XLA is left to pad with zeros, which it never writes; a border with content has to exist. So have zeros before a
    # window of two with stride two. Transposed, this axis has gaps and no border, and where the window exceeds the map
    # along the other axis XLA then ends the process: it exchanges map and kernel, and takes the axis for one that both
    # share alike (`is_group_dim` in algebraic_simplifier.cc, jaxlib 0.10.2).
    axes = zip(kernel.shape[:rank], stride, dilation, resolved.pairs, strict=True)
    mistaken = any((k, s, d, before) == (2, 2, 1, 1) for k, s, d, (before, _) in axes)
    pairs = resolved.pairs
    if resolved.fill != "zero" or mistaken:
        x, pairs = fill_border(x, resolved), ((0, 0),) * rank
    geometry = Geometry(
        x.shape[1:-1], x.shape[-1], kernel.shape[-1], kernel.shape[:rank], stride, pairs, dilation, groups
    )
    return convolution(x, kernel, geometry)


@checked("groups")
def convolve(
    x: Num[Array, "batch *space in_channels"],
    kernel: Num[Array, "*window group_channels out_channels"],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "same",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Num[Array, "batch *resolution out_channels"]:
    """Convolve in the mathematical sense: `conv` with the kernel flipped along every spatial axis.

    `y[b, i, o] = Σ_{j, c} w[j, c, o] · x[b, s i + d (k − 1 − j) − before, c]`; with `padding="full"` and stride 1 it is
    `Σ_j w[j] x[i − d j]`: linear, commutative and associative.

    Shapes, dtypes, padding and errors are those of `conv`. So "same" with an even window starts one step later than
    `numpy.convolve(mode="same")` does. Source: Goodfellow, Bengio & Courville 2016, equations 9.4 and 9.5.
    """
    spatial = tuple(range(kernel.ndim - 2))
    return conv(x, jnp.flip(kernel, axis=spatial), stride=stride, padding=padding, dilation=dilation, groups=groups)


def check_operands(
    x: Num[Array, "batch *space in_channels"],
    kernel: Num[Array, "*window group_channels out_channels"],
    *,
    groups: int,
) -> None:
    """Raise InputError unless `conv` can multiply this batch by this kernel."""
    check_kernel(kernel, rank=x.ndim - 2, groups=groups)
    if x.dtype != kernel.dtype:
        raise InputError(
            f"x is {x.dtype} and kernel is {kernel.dtype}; conv needs one floating-point dtype for both. "
            f"Convert one of them with .astype(...); decode uint8 images to float in [0, 1] first."
        )
    channels, per_group = x.shape[-1], kernel.shape[-2]
    if channels != per_group * groups:
        raise InputError(
            f"x has {channels} channels, but kernel of shape {kernel.shape} reads {per_group} in each of "
            f"groups={groups}, {per_group * groups} in all: x's channels are kernel's second last axis times groups."
        )


def check_kernel(kernel: Num[Array, "*window group_channels out_channels"], *, rank: int, groups: int) -> None:
    """Raise InputError unless this is a kernel for maps of `rank` spatial axes, one or two, and for so many groups."""
    if kernel.ndim != rank + 2 or rank not in (1, 2):
        raise InputError(
            f"kernel has shape {kernel.shape}; a signal needs (length, in, out), an image (height, width, in, out)."
        )
    if 0 in kernel.shape:
        raise InputError(f"kernel has shape {kernel.shape}, so no weights; every axis must have at least one.")
    if not jnp.issubdtype(kernel.dtype, jnp.floating):
        raise InputError(f"kernel is {kernel.dtype}; convolution needs a floating-point dtype. Use .astype(...).")
    count, out_channels = as_int(groups), kernel.shape[-1]
    if count is None or count < 1 or out_channels % count:
        raise InputError(
            f"groups={in_line(groups)} must be a positive int that divides kernel's {out_channels} outputs."
        )
