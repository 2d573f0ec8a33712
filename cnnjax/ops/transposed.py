"""Transposed convolution: the adjoint of `conv`, from the space of its outputs back to that of its inputs."""

from collections.abc import Sequence

import jax
from jaxtyping import Array, Num

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.convolution import check_kernel, conv
from cnnjax.ops.padding import Padding, per_axis, spatial_shape


@checked("groups")
def conv_transpose(
    y: Num[Array, "batch *resolution channels"],
    kernel: Num[Array, "*window group_channels out_channels"],
    *,
    input_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: Padding = "same",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Num[Array, "batch *space in_channels"]:
    """Apply the adjoint of `conv` with the same kernel and options.

    It is the one map for which `⟨conv(x), y⟩ = ⟨x, conv_transpose(y)⟩` whatever x and y:
    `x[b, n, c] = Σ w[j, c, o] · y[b, i, o]` over all i, j and o for which `conv` reads pixel n at position
    `s i + d j − before`: n itself, or the position of a circular or reflected border that shows it.

    y is (batch, length, out) or (batch, height, width, out), kernel as for `conv`, both of one floating-point dtype;
    the result is (batch, *input_size, in). With a stride, maps of several sizes have outputs of one size, up to the
    `a = (n + before + after − k') mod s` rows that `conv` leaves unread; input_size, an int or one int per axis, says
    which is meant. Unread rows come back as zeros.

    Raises InputError where y is not of the shape and dtype that `conv` gives on such a map, and as `conv` does.
    Source: Dumoulin & Visin 2016, section 4, relations 8 to 14.
    """
    resolution = spatial_shape(y, name="y")
    check_kernel(kernel, rank=len(resolution), groups=groups)
    if y.dtype != kernel.dtype:
        raise InputError(f"y is {y.dtype} and kernel is {kernel.dtype}; convert one of them with .astype(...).")
    if y.shape[-1] != kernel.shape[-1]:
        raise InputError(
            f"y has {y.shape[-1]} channels, but conv with a kernel of shape {kernel.shape} gives {kernel.shape[-1]}."
        )
    input_size = per_axis(input_size, len(resolution), name="input_size")

    def forward(x: Array) -> Array:
        return conv(x, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)

    x = jax.ShapeDtypeStruct((y.shape[0], *input_size, kernel.shape[-2] * groups), y.dtype)
    expected = jax.eval_shape(forward, x).shape[1:-1]
    if resolution != expected:
        raise InputError(
            f"y has spatial size {resolution}, but conv makes {expected} of input_size={input_size} with "
            f"stride={stride!r}, padding={padding!r}, dilation={dilation!r}; give the size of the map that y came from."
        )
    (transposed,) = jax.linear_transpose(forward, x)(y)
    return transposed
