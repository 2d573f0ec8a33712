"""The operations written out in NumPy, one output at a time, for the tests to compare with."""

import itertools
import math

import numpy as np


def amounts(padding, n, k, stride, dilation):
    """Positions added before and after an axis, from the definitions."""
    window = dilation * (k - 1) + 1
    if padding in ("same", "circular", "reflect"):
        return (window - 1) // 2, window - 1 - (window - 1) // 2
    if padding == "full":
        return window - 1, window - 1
    if padding == "same_xla":
        total = max((math.ceil(n / stride) - 1) * stride + window - n, 0)
        return total // 2, math.ceil(total / 2)
    if padding == "valid":
        return 0, 0
    if isinstance(padding, int):
        return padding, padding
    raise AssertionError(padding)


def source(i, n, fill):
    """The index inside 0..n−1 that position i is read from, or None where there is nothing."""
    if fill == "circular":
        while i < 0:
            i += n
        while i >= n:
            i -= n
    elif fill == "reflect" and n == 1:
        i = 0
    elif fill == "reflect":
        while not 0 <= i < n:
            i = -i if i < 0 else 2 * (n - 1) - i
    return i if 0 <= i < n else None


def padded(x, pairs, fill, nothing=0.0):
    space = x.shape[1:-1]
    sizes = [before + n + after for n, (before, after) in zip(space, pairs, strict=True)]
    y = np.full((x.shape[0], *sizes, x.shape[-1]), nothing, dtype=np.float64)
    for to in itertools.product(*map(range, sizes)):
        place = [source(t - before, n, fill) for t, n, (before, _) in zip(to, space, pairs, strict=True)]
        if None not in place:
            y[:, *to] = x[:, *place]
    return y


def windows(x, size, stride, dilation):
    """Yield each output index with its window, (batch, *size, channels)."""
    space = x.shape[1:-1]
    starts = [range(0, n - d * (k - 1), s) for n, k, s, d in zip(space, size, stride, dilation, strict=True)]
    for to, start in zip(itertools.product(*(range(len(r)) for r in starts)), itertools.product(*starts), strict=True):
        spans = (slice(b, b + d * (k - 1) + 1, d) for b, k, d in zip(start, size, dilation, strict=True))
        yield to, x[:, *spans]


def _stacked(outputs):
    outputs = dict(outputs)
    shape = tuple(last + 1 for last in max(outputs))
    first = next(iter(outputs.values()))
    y = np.empty((first.shape[0], *shape, first.shape[-1]))
    for to, value in outputs.items():
        y[:, *to] = value
    return y


def _resolve(x, size, stride, dilation, padding):
    if not isinstance(padding, str | int):
        return padding, "zero"
    pairs = [amounts(padding, *sizes) for sizes in zip(x.shape[1:-1], size, stride, dilation, strict=True)]
    return pairs, padding if padding in ("circular", "reflect") else "zero"


def conv(x, kernel, *, stride, padding, dilation, groups):
    size = kernel.shape[:-2]
    pairs, fill = _resolve(x, size, stride, dilation, padding)
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    per_in, per_out = kernel.shape[-2], kernel.shape[-1] // groups

    def one(window):
        outputs = []
        for o in range(kernel.shape[-1]):
            g = o // per_out
            read = window[..., g * per_in : (g + 1) * per_in]
            outputs.append((read * kernel[None, ..., o]).reshape(x.shape[0], -1).sum(1))
        return np.stack(outputs, -1)

    return _stacked((to, one(w)) for to, w in windows(padded(x, pairs, fill), size, stride, dilation))


def matrix(kernel, input_size, **options):
    """The matrix of `conv`, column by column: what becomes of a one at each place of the map."""
    channels = kernel.shape[-2] * options["groups"]
    basis = np.eye(math.prod(input_size) * channels).reshape(-1, *input_size, channels)
    return conv(basis, kernel, **options).reshape(len(basis), -1).T


def pool(x, size, *, stride, padding, reduce, nothing):
    ones = (1,) * len(size)
    pairs, fill = _resolve(x, size, stride, ones, padding)
    axes = tuple(range(1, len(size) + 1))
    seen = padded(np.asarray(x, np.float64), pairs, fill, nothing)
    return _stacked((to, reduce(w, axes)) for to, w in windows(seen, size, stride, ones))


def switches(x, size, *, stride, padding):
    """Where the first maximum of each window is, counted in row-major order inside the window."""
    pairs, fill = _resolve(x, size, stride, (1,) * len(size), padding)
    seen = padded(np.asarray(x, np.float64), pairs, fill, -np.inf)
    flat = (x.shape[0], math.prod(size), x.shape[-1])
    found = _stacked((to, w.reshape(flat).argmax(1)) for to, w in windows(seen, size, stride, (1,) * len(size)))
    return found.astype(int)


def unpool(y, switches, input_size, size, *, stride, padding, overlap="add"):
    """Each value of `y` put on the position of its switch, one window after the other."""
    x = np.zeros((y.shape[0], *input_size, y.shape[-1]))
    pairs, fill = _resolve(x, size, stride, (1,) * len(size), padding)
    taken = np.zeros(x.shape, bool)
    for b, *to, c in np.ndindex(y.shape):
        inside = np.unravel_index(switches[b, *to, c], size)
        seen = [s * t + j - before for s, t, j, (before, _) in zip(stride, to, inside, pairs, strict=True)]
        place = [source(i, n, fill) for i, n in zip(seen, input_size, strict=True)]
        if None in place:
            continue
        at, value = (b, *place, c), y[b, *to, c]
        if overlap == "add" or not taken[at]:
            x[at] += value
        elif overlap == "overwrite" or value > x[at]:
            x[at] = value
        taken[at] = True
    return x


def shift(x, offset, fill):
    """`y[i] = x[i − offset]`, offset (batch, spatial)."""
    y = np.zeros_like(x)
    space = x.shape[1:-1]
    for b in range(x.shape[0]):
        for to in itertools.product(*map(range, space)):
            place = [source(t - int(o), n, fill) for t, o, n in zip(to, offset[b], space, strict=True)]
            if None not in place:
                y[b, *to] = x[b, *place]
    return y
