"""Padding: one argument for convolution and pooling alike, and the resolution formula it implies."""

import operator
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Shaped

from cnnjax.door import checked
from cnnjax.door.choices import check_choice
from cnnjax.door.words import in_line
from cnnjax.errors import InputError

Padding: TypeAlias = str | int | Sequence[Sequence[int]]
"""A name out of `NAMES`, an int (both sides of every axis), or one `(before, after)` pair for each axis.

"circular" and "reflect" continue the map; all others pad with zeros (max pooling: with −∞).
"""

NAMES = ("valid", "same", "full", "circular", "reflect", "same_xla")
Fill = Literal["zero", "circular", "reflect"]
"""What comes in from beyond the border: 0, the opposite border, or the mirror image about the border pixel."""
LARGEST = 2**31 - 1  # what compilers hold the sizes of axes in
PAD_MODES: dict[Fill, Literal["constant", "wrap", "reflect"]] = {
    "zero": "constant",
    "circular": "wrap",
    "reflect": "reflect",
}
"""A border's fill, as `numpy.pad` calls it."""


class ResolvedPadding(NamedTuple):
    """What a padding argument means for one window on one map: `(before, after)` per axis, and what fills it."""

    pairs: tuple[tuple[int, int], ...]
    fill: Fill


def per_axis(value: int | Sequence[int], rank: int, *, name: str) -> tuple[int, ...]:
    """One positive int per spatial axis, from an int for all of them or a sequence with one for each.

    NumPy's integers become Python's. Raises InputError naming `name` for a wrong number of values or for one that is
    not an integer above 0.
    """
    values = tuple(map(as_int, value if isinstance(value, Sequence) else (value,) * rank))
    if any(v is not None and v > LARGEST for v in values):
        raise InputError(f"{name}={value!r} is more than {LARGEST}, the largest size of an axis.")
    positive = tuple(v for v in values if v is not None and v > 0)
    if len(values) != rank or len(positive) != rank:
        raise InputError(f"{name}={in_line(value)} must be a positive int, or {rank} of them, one per spatial axis.")
    return positive


def as_int(value: Any) -> int | None:
    """`value` as a Python int if it is an integer, of NumPy's types too; None for anything else, bool included."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def spatial_shape(x: Shaped[Array, "batch *space channels"], *, name: str = "x") -> tuple[int, ...]:
    """The spatial sizes of a batch of signals `(batch, length, channels)` or images `(batch, height, width, channels)`.

    Raises InputError naming `name` for any other rank and for a map without positions.
    """
    if x.ndim not in (3, 4):
        raise InputError(
            f"{name} has shape {x.shape}; expected (batch, length, channels) or (batch, height, width, channels). "
            f"Add a batch axis with {name}[None]; bring further leading axes through jax.vmap."
        )
    if 0 in x.shape[1:-1]:
        raise InputError(f"{name} has shape {x.shape}; every spatial axis must have at least one position.")
    return x.shape[1:-1]


@checked("kernel_size", "input_size", "stride", "dilation")
def resolve_padding(
    padding: Padding,
    *,
    kernel_size: Sequence[int],
    input_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool = False,
) -> ResolvedPadding:
    """Turn a padding argument into explicit pairs, one per axis.

    With the dilated window size `k' = d (k − 1) + 1`, the map size n and the stride s, before + after is

    - "valid": 0;
    - "same", "circular", "reflect": `(k' − 1) // 2 + k' // 2`, whatever the stride and the map size;
    - "full": `(k' − 1) + (k' − 1)`;
    - "same_xla": `max((⌈n / s⌉ − 1) s + k' − n, 0)`, split evenly, an odd one after.

    What the last window reaches beyond these with `ceil_mode` (see `output_size`) is not padding and not counted here.

    Raises InputError for an unknown name, a malformed or negative amount, a reflection as wide as the map, and a window
    larger than the padded map, with `ceil_mode` by the stride or more. Source: Dumoulin & Visin 2016, sections 2 and
    5.1.
    """
    rank = len(input_size)
    kernel_size = per_axis(kernel_size, rank, name="kernel_size")
    input_size = per_axis(input_size, rank, name="input_size")
    stride = per_axis(stride, rank, name="stride")
    dilation = per_axis(dilation, rank, name="dilation")
    windows = [d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    if isinstance(padding, str):
        check_choice("padding", padding, NAMES, otherwise=", an int, or pairs")
        fill = padding if padding in ("circular", "reflect") else "zero"
        pairs = tuple(_named(padding, *sizes) for sizes in zip(windows, input_size, stride, strict=True))
    else:
        fill = "zero"
        pairs = _explicit(padding, rank)
    for size, pair, window, step in zip(input_size, pairs, windows, stride, strict=True):
        if fill == "reflect" and max(pair) >= size:
            raise InputError(
                f"padding='reflect' needs {max(pair)} positions beyond the border, but the map has only {size}, "
                f"of which {size - 1} can be mirrored; use a smaller window or padding='circular'."
            )
        if window > size + sum(pair) + (step - 1 if ceil_mode else 0):
            raise InputError(
                f"the window spans {window} positions, more than the {size + sum(pair)} of the padded map "
                f"({pair[0]} + {size} + {pair[1]}); use a smaller window or more padding than {padding!r}."
            )
    return ResolvedPadding(pairs, fill)


def _explicit(padding: int | Sequence[Sequence[int]], rank: int) -> tuple[tuple[int, int], ...]:
    given = padding if isinstance(padding, Sequence) else ((padding, padding),) * rank
    sides = [(as_int(pair[0]), as_int(pair[1])) for pair in given if isinstance(pair, Sequence) and len(pair) == 2]
    pairs = tuple((a, b) for a, b in sides if a is not None and b is not None and min(a, b) >= 0)
    if len(given) != rank or len(pairs) != rank or any(max(pair) > LARGEST for pair in pairs):
        raise InputError(
            f"padding={in_line(padding)} must be a non-negative int, or {rank} pairs (before, after) of such, one per "
            f"spatial axis, at most {LARGEST}; or one of {', '.join(NAMES)}."
        )
    return pairs


def _named(padding: str, window: int, size: int, stride: int) -> tuple[int, int]:
    match padding:
        case "valid":
            return 0, 0
        case "full":
            return window - 1, window - 1
        case "same_xla":
            total = max((-(-size // stride) - 1) * stride + window - size, 0)
            return total // 2, total - total // 2
        case _:
            return (window - 1) // 2, window // 2


def fill_border(
    x: Shaped[Array, "batch *space channels"], padding: ResolvedPadding
) -> Shaped[Array, "batch *padded channels"]:
    """Extend `x` by the resolved amounts: zeros, the opposite border (circular) or the mirrored one (reflect)."""
    if not any(sum(pair) for pair in padding.pairs):
        return x
    return jnp.pad(x, ((0, 0), *padding.pairs, (0, 0)), mode=PAD_MODES[padding.fill])


@checked()
def pad(
    x: Shaped[Array, "batch *space channels"],
    padding: Padding,
    *,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
) -> Shaped[Array, "batch *padded channels"]:
    """Extend a map as a convolution with this window would, so that "valid" on the result gives the same.

    `y[i] = x[i − before]` inside the map. Outside it 0; or the opposite border, `x[(i − before) mod n]` ("circular", as
    many times round as it takes); or the mirror image about the border pixel, which is not repeated ("reflect").

    x is (batch, length, channels) or (batch, height, width, channels), of any dtype.
    Raises InputError as `resolve_padding` does.
    """
    input_size = spatial_shape(x)
    rank = len(input_size)
    resolved = resolve_padding(
        padding,
        kernel_size=per_axis(kernel_size, rank, name="kernel_size"),
        input_size=input_size,
        stride=per_axis(stride, rank, name="stride"),
        dilation=per_axis(dilation, rank, name="dilation"),
    )
    return fill_border(x, resolved)


@checked("n", "k", "stride", "dilation")
def output_size(
    n: int, k: int, *, stride: int = 1, padding: Padding = "same", dilation: int = 1, ceil_mode: bool = False
) -> int:
    """The number of outputs along one axis of a convolution or pooling: the resolution formula.

    `o = ⌊(n + before + after − d (k − 1) − 1) / s⌋ + 1`

    With `ceil_mode`, as pools take it, the quotient is rounded up: positions at the end that fill no window are read by
    one that reaches beyond them, unless it would start after the map.

    n is the input size, k the window size. An explicit `padding` is one pair: `((before, after),)`.
    Raises InputError as `resolve_padding` does. Source: Dumoulin & Visin 2016, relations 6 and 15; of `ceil_mode`,
    PyTorch.
    """
    (n,), (k,) = per_axis(n, 1, name="n"), per_axis(k, 1, name="k")
    (stride,), (dilation,) = per_axis(stride, 1, name="stride"), per_axis(dilation, 1, name="dilation")
    resolved = resolve_padding(
        padding, kernel_size=(k,), input_size=(n,), stride=(stride,), dilation=(dilation,), ceil_mode=ceil_mode
    )
    (pair,), span = resolved.pairs, dilation * (k - 1) + 1
    return (n + sum(pair) + (beyond(n, span, stride, pair) if ceil_mode else 0) - span) // stride + 1


def beyond(n: int, span: int, stride: int, pair: tuple[int, int]) -> int:
    """How many positions after the padded map the last window of `ceil_mode` reaches."""
    whole, rest = divmod(n + sum(pair) - span, stride)
    return stride - rest if rest and (whole + 1) * stride < n + pair[0] else 0
