"""Rules of the primitives that combine elements: windows, reductions, running sums, products, transforms, orders."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cnnjax.program.reach.known import Call
from cnnjax.program.reach.merge import union
from cnnjax.program.reach.reach import Reach
from cnnjax.program.reach.window import Window

Operands = Sequence[Reach | None]


def _conv(call: Call, operands: Operands) -> Reach:
    shape = call.shape
    x, kernel = operands
    return union(
        [
            x and _conv_of_input(x, call),
            # A kernel that is made from the images: any output may use all of it.
            kernel and kernel.collapse(range(len(kernel.axes))).arrange([None] * len(shape), shape),
        ]
    )


def _conv_of_input(x: Reach, call: Call) -> Reach:
    """Output u reads `stride u + dilation j − before`, of the input with `lhs_dilation − 1` gaps between elements."""
    params, shape, kernel = call.params, call.shape, call.inputs[1].shape
    (batch, feature, *space), result, window = (params["dimension_numbers"][i] for i in (0, 2, 1))
    for i, axis in enumerate(space):
        reads = Window.affine(
            x.shape[axis],
            shape[result[2 + i]],
            stride=params["window_strides"][i],
            start=-params["padding"][i][0],
            taps=kernel[window[2 + i]],
            step=params["rhs_dilation"][i],
            base=params["lhs_dilation"][i],
        )
        x = x.read(axis, reads)
    if params["batch_group_count"] > 1:
        x = x.collapse([batch])
    channels = x.shape[feature]
    groups, features = params["feature_group_count"], shape[result[1]]
    if groups > 1 and x.varies(feature):
        x = x.regroup(feature, feature + 1, (groups, channels // groups)).collapse([feature + 1])
        wide = (*x.shape[: feature + 1], features // groups, *x.shape[feature + 2 :])
        x = x.arrange(range(len(wide)), wide).regroup(feature, feature + 2, (features,))
    else:
        x = x.collapse([feature])
    sources = dict(zip(result, (batch, feature, *space), strict=True))
    return x.arrange([sources[axis] for axis in range(len(shape))], shape)


def _reduce_window(call: Call, operands: Operands) -> list[Reach | None]:
    params, shape = call.params, call.shape
    # The generic form has an initial value for each of its arrays.
    x = union(operands[: len(call.avals)])
    settings = ("window_dimensions", "window_strides", "padding", "window_dilation", "base_dilation")
    for axis, (taps, stride, (low, _high), step, base) in enumerate(zip(*(params[s] for s in settings), strict=True)):
        if (taps, stride, base, x.shape[axis]) != (1, 1, 1, shape[axis]):
            window = Window.affine(
                x.shape[axis], shape[axis], stride=stride, start=-low, taps=taps, step=step, base=base
            )
            x = x.read(axis, window)
    return [x] * len(call.avals)


def _reduce(call: Call, operands: Operands) -> list[Reach | None]:
    axes = call.params["axes" if "axes" in call.params else "dimensions"]
    x = union(operands[: len(call.avals)])
    kept = [a for a in range(len(x.axes)) if a not in axes]
    return [x.collapse(axes).arrange(kept, call.shape)] * len(call.avals)


def _accumulate(call: Call, operands: Operands) -> Reach:
    (x,) = operands
    assert x is not None
    return x.accumulate(call.params["axis"], reverse=call.params["reverse"])


def _whole(axes_of: Callable[[Mapping[str, Any], int], Iterable[int]]) -> Callable[..., list[Reach | None]]:
    """Each result reads some axes whole, and keeps all."""

    def rule(call: Call, operands: Operands) -> list[Reach | None]:
        x = union(operands)
        rank = len(x.axes)
        x = x.collapse(axes_of(call.params, rank))
        return [x.arrange(range(rank), v.shape) for v in call.avals]

    return rule


def _dot(call: Call, operands: Operands) -> Reach:
    contracting, batch = call.params["dimension_numbers"]
    ranks = [len(v.shape) for v in call.inputs]
    free = [[a for a in range(ranks[i]) if a not in (*contracting[i], *batch[i])] for i in (0, 1)]
    parts = []
    for i, x in enumerate(operands):
        if x is None:
            continue
        theirs: list[int | None] = [None] * len(free[1 - i])
        matrix = call.inputs[1 - i]
        if matrix.positional and len(matrix.shape) == 2 and len(contracting[i]) == 1 and len(theirs) == 1:
            # Such as the weights that resize an axis: what has none is not read.
            (axis,) = contracting[i]
            weights = matrix.value if contracting[1 - i][0] == 1 else matrix.value.T
            x, theirs = x.read(axis, _support(weights != 0)), [axis]
        else:
            x = x.collapse(contracting[i])
        order = [*batch[i], *free[i], *theirs] if i == 0 else [*batch[i], *theirs, *free[i]]
        parts.append(x.arrange(order, call.shape))
    # Products of all pairs, as in attention, are not branches that ought to be aligned.
    return dataclasses.replace(union(parts), aligned=all(part.aligned for part in parts))


def _support(nonzero: np.ndarray) -> Window:
    """The window that reads, for each row, the columns that are true."""
    n = nonzero.shape[1]
    index = np.sort(np.where(nonzero, np.arange(n)[None], -1), axis=1)[:, ::-1]
    return Window.tabulated(index[:, : max(1, int(nonzero.sum(1).max()))], n)


SUMS: Mapping[str, Callable[..., Reach | list[Reach | None]]] = {
    "conv_general_dilated": _conv,
    "dot_general": _dot,
    "reduce_window": _reduce_window,
    **{f"reduce_window_{kind}": _reduce_window for kind in ("sum", "max", "min")},
    "reduce": _reduce,
    **{f"reduce_{kind}": _reduce for kind in ("sum", "prod", "max", "min", "and", "or", "xor")},
    "argmax": _reduce,
    "argmin": _reduce,
    **{f"cum{kind}": _accumulate for kind in ("sum", "prod", "max", "min", "logsumexp")},
    "sort": _whole(lambda params, rank: [params["dimension"]]),
    "top_k": _whole(lambda params, rank: [params["axis"]]),
    "fft": _whole(lambda params, rank: range(rank - len(params["fft_lengths"]), rank)),
}
