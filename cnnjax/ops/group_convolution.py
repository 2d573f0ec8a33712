"""Group convolution: one kernel in all its orientations, so that to turn the image is to turn the maps, no more."""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Num

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.ops.convolution import conv
from cnnjax.ops.groups import find_group, group_action, move
from cnnjax.ops.padding import Padding, per_axis, resolve_padding


@checked()
def lifting_conv(
    x: Num[Array, "batch height width in_channels"],
    kernel: Num[Array, "kernel_h kernel_w kernel_in out_channels"],
    *,
    group: str = "p4",
    stride: int | Sequence[int] = 1,
    padding: Padding = "same",
    dilation: int | Sequence[int] = 1,
    exact: bool = True,
) -> Num[Array, "batch out_h out_w group out_channels"]:
    """Cross-correlate images with a kernel in every orientation: `y[g] = conv(x, g w)`.

    `(g w)(p) = w(g⁻¹ p)`, about the kernel's centre; group and the order of its elements are those of `group_action`.
    So `lifting_conv(g x) = g lifting_conv(x)`, exactly so under the rule below.

    x is (batch, height, width, in), kernel (k, k, in, out), both of one floating-point dtype; the result is
    (batch, height', width', |group|, out). The other arguments are those of `conv`.

    The rule: on both axes, with `k' = d (k − 1) + 1` and o outputs, the windows begin as far before the map as they end
    beyond it, `s (o − 1) + k' = n + 2 · before`; for symmetric padding p that is `(n + 2p − k') mod s = 0`. Then, and
    for kernels without symmetries only then, the layer commutes with quarter turns and mirror images, to rounding.
    exact=False accepts a breach.

    With "p8_approximate" quarter turns are as exact under the same rule. Turns by 45° stay approximate whatever the
    sizes: image and kernel are interpolated, and the corners of a turned square are lost. On smooth images the error is
    below 1 % for a 7×7 derivative of a Gaussian (σ = 1), some 30 % for 3×3 random weights.

    Raises InputError for a breach of the rule, a kernel that is not square, an unknown group, and as `conv` does.
    Source: Cohen & Welling, Group equivariant convolutional networks, 2016, equation 10.
    """
    order = find_group(group).order
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
        raise InputError(
            f"x has shape {x.shape} and kernel {kernel.shape}; lifting needs (batch, height, width, in) and "
            "(k, k, in, out)."
        )
    _check_square(kernel)
    if exact:
        _check_commutes(x, kernel, stride, padding, dilation)
    y = conv(x, _all_orientations(kernel, group), stride=stride, padding=padding, dilation=dilation)
    return y.reshape(*y.shape[:3], order, kernel.shape[-1])


@checked()
def group_conv(
    x: Num[Array, "batch height width group in_channels"],
    kernel: Num[Array, "kernel_h kernel_w kernel_group kernel_in out_channels"],
    *,
    group: str,
    stride: int | Sequence[int] = 1,
    padding: Padding = "same",
    dilation: int | Sequence[int] = 1,
    exact: bool = True,
) -> Num[Array, "batch out_h out_w group out_channels"]:
    """Cross-correlate maps over a group with a kernel over the same group: `y[g] = Σ_h conv(x[h], (g w)[h])`.

    `(g w)(p, h) = w(g⁻¹ p, g⁻¹ h)`; group and the order of its elements are those of `group_action`. So
    `group_conv(g x) = g group_conv(x)`, under the rule and with the errors that `lifting_conv` states. It is computed
    as one `conv` whose channels are all (h, in) and all (g, out).

    x is (batch, height, width, |group|, in), kernel (k, k, |group|, in, out), both of one floating-point dtype; the
    result is (batch, height', width', |group|, out). The other arguments are those of `conv`.

    Source: Cohen & Welling, Group equivariant convolutional networks, 2016, equation 11.
    """
    order = find_group(group).order
    if x.ndim != 5 or kernel.ndim != 5 or x.shape[3:] != (order, kernel.shape[3]) or kernel.shape[2] != order:
        raise InputError(
            f"x has shape {x.shape} and kernel {kernel.shape}; {group} needs (batch, height, width, {order}, in) and "
            f"(k, k, {order}, in, out). Images become such maps by `lifting_conv`."
        )
    _check_square(kernel)
    if exact:
        _check_commutes(x, kernel, stride, padding, dilation)
    channels = x.reshape(*x.shape[:3], order * x.shape[4])
    y = conv(channels, _all_orientations(kernel, group), stride=stride, padding=padding, dilation=dilation)
    return y.reshape(*y.shape[:3], order, kernel.shape[-1])


@checked()
def group_pool(
    x: Num[Array, "batch height width group channels"], *, reduce: Literal["max", "mean"] = "max"
) -> Num[Array, "batch height width channels"]:
    """Reduce a map over a group to an image of features: `y[p] = max_g x[p, g]`, or the mean over g.

    `group_pool(g x) = g group_pool(x)`. x is (batch, height, width, |group|, channels), floating point; the mean is
    taken in float32 at least. Equal maxima share the gradient, so that it is equivariant too.

    Raises InputError for another rank or dtype and for a reduction other than "max" and "mean".
    Source: Cohen & Welling, Group equivariant convolutional networks, 2016, section 6.3.
    """
    if x.ndim != 5 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise InputError(
            f"x is {x.dtype} of shape {x.shape}; group pooling needs floating point, "
            "(batch, height, width, group, channels)."
        )
    if reduce == "max":
        return _max_over_group(x)
    return jnp.mean(x, axis=3, dtype=np.promote_types(x.dtype, np.float32)).astype(x.dtype)


@jax.custom_jvp
def _max_over_group(x: Array) -> Array:
    return jnp.max(x, axis=3)


# JAX's own rule divides by the number of orientations equal to the maximum. Compilers may compute the map twice, for
# the maximum and beside it, and round it differently: then none is equal, and 0/0. So the first maximum is one of them
# by its place.
@_max_over_group.defjvp
def _max_over_group_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """Take the mean of the tangents at the maxima: linear in the tangent, so its transpose is the gradient."""
    (x,), (tangent,) = primals, tangents
    y = _max_over_group(x)
    first = jnp.expand_dims(lax.argmax(x, 3, jnp.int32), 3)
    largest = (x == jnp.expand_dims(y, 3)) | (lax.broadcasted_iota(jnp.int32, x.shape, 3) == first)
    chosen = jnp.where(largest, tangent, jnp.zeros((), x.dtype))
    return y, jnp.sum(chosen, axis=3) / jnp.sum(largest, axis=3, dtype=x.dtype)


# One gather from a static table: forward and gradient for 8×8 orientations of 3×3×32×32 took 0.6 and 0.6 ms beside
# 47 ms of the convolution's step; one transpose per element, stacked, 1.3 and 3.1 ms, and 0.5 s more to compile.
def _all_orientations(kernel: Array, group: str) -> Array:
    """The kernel for `conv`, (k, k, in, g · out), from (k, k, in, out); or (k, k, h · in, g · out) for group maps."""
    table = find_group(group)
    *place, in_channels, out_channels = kernel.shape
    filters = kernel.reshape(1, *place, in_channels * out_channels)
    within_a_quarter = jnp.concatenate([group_action(filters, step, group=group) for step in range(table.steps)])
    entries = np.arange(table.steps * math.prod(place)).reshape(table.steps, *place, 1)
    read = [move(entries, g - g % table.steps, table)[g % table.steps, ..., 0] for g in range(table.order)]
    turned = within_a_quarter.reshape(entries.size, in_channels, out_channels)[np.stack(read, axis=-1)]
    return turned.swapaxes(-3, -2).reshape(*place[:2], math.prod(place[2:]) * in_channels, table.order * out_channels)


def _check_square(kernel: Array) -> None:
    if kernel.shape[0] != kernel.shape[1]:
        raise InputError(
            f"kernel has shape {kernel.shape}; its window must be square, {max(kernel.shape[:2])} by "
            f"{max(kernel.shape[:2])} say: a quarter turn exchanges its height and width."
        )


def _check_commutes(
    x: Array, kernel: Array, stride: int | Sequence[int], padding: Padding, dilation: int | Sequence[int]
) -> None:
    """Raise InputError where the windows do not lie on the map as those of a turned map would."""
    stride, dilation = per_axis(stride, 2, name="stride"), per_axis(dilation, 2, name="dilation")
    resolved = resolve_padding(
        padding, kernel_size=kernel.shape[:2], input_size=x.shape[1:3], stride=stride, dilation=dilation
    )
    remedy = "or accept with exact=False that the layer does not commute with quarter turns."
    # Amounts that follow from a name follow from n, so a turned map has them turned.
    named = isinstance(padding, str)
    for name, (first, second) in {"stride": stride, "dilation": dilation, "padding": resolved.pairs}.items():
        if first != second and not (name == "padding" and named):
            raise InputError(
                f"{name} is {first} along the height and {second} along the width; use one value, {remedy}"
            )
    for n, (before, after), s, d in zip(x.shape[1:3], resolved.pairs, stride, dilation, strict=True):
        span = d * (kernel.shape[0] - 1) + 1
        unread = (n + before + after - span) % s
        if after - unread == before:
            continue
        sizes = f"n={n}, p={(before, after)}, k'={span} and s={s}"
        if before != after:
            raise InputError(
                f"{sizes}: the windows begin {before} before the map and end {after - unread} beyond it. "
                f"Use an odd window, or padding that is the same on both sides, {remedy}"
            )
        raise InputError(
            f"{sizes}: (n + 2p − k') mod s is {unread}, the rows at the end that no window reads, and must be 0. "
            f"Use n={n + s - unread}, stride 1, {remedy}"
        )
