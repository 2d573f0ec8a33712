"""Layers on signals, and the definitions of what they read written out: `reads[u, p]`, output u reads input p."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnnjax import ops


def source(position, n, fill):
    """The index inside 0..n−1 that a position beyond the border shows, or None."""
    if fill == "circular":
        return position % n
    while fill == "reflect" and not 0 <= position < n:
        position = -position if position < 0 else 2 * (n - 1) - position
    return position if 0 <= position < n else None


def windowed(n, k, stride, dilation, before, after, fill="zero"):
    units = (n + before + after - dilation * (k - 1) - 1) // stride + 1
    reads = np.zeros((units, n), bool)
    for u in range(units):
        for j in range(k):
            p = source(stride * u + dilation * j - before, n, fill)
            if p is not None:
                reads[u, p] = True
    return reads


class Conv:
    """A convolution with positive weights; `padding` is (before, after), or the name of a border."""

    def __init__(self, k, stride=1, dilation=1, padding=(0, 0)):
        self.k, self.stride, self.dilation, self.padding = k, stride, dilation, padding

    def __repr__(self):
        return f"conv {self.k}/{self.stride} dilation {self.dilation} padding {self.padding}"

    def amounts(self):
        extra = self.dilation * (self.k - 1)
        return (extra // 2, extra - extra // 2) if isinstance(self.padding, str) else self.padding

    def fits(self, n):
        most = n if self.padding == "reflect" else n + 1
        return self.dilation * (self.k - 1) + 1 <= n + sum(self.amounts()) and max(self.amounts()) < most

    def __call__(self, x):
        padding = self.padding if isinstance(self.padding, str) else (self.padding,)
        weights = jnp.linspace(0.5, 1.0, self.k, dtype=x.dtype)
        kernel = jnp.broadcast_to(weights[:, None, None], (self.k, x.shape[-1], 2))
        return ops.conv(x, kernel, stride=self.stride, dilation=self.dilation, padding=padding)

    def reads(self, n):
        fill = self.padding if isinstance(self.padding, str) else "zero"
        return windowed(n, self.k, self.stride, self.dilation, *self.amounts(), fill)


class Pool(Conv):
    def __init__(self, k, stride, padding):
        super().__init__(k, stride, padding=padding)

    def __repr__(self):
        return f"pool {self.k}/{self.stride} padding {self.padding}"

    def __call__(self, x):
        padding = self.padding if isinstance(self.padding, str) else (self.padding,)
        return ops.avg_pool(x, self.k, stride=self.stride, padding=padding)


class Transposed:
    """Zeros between the elements, then a convolution: the transpose of one with that stride."""

    def __init__(self, k, stride):
        self.k, self.stride = k, stride

    def __repr__(self):
        return f"transposed {self.k}/{self.stride}"

    def fits(self, n):
        return n < 12

    def __call__(self, x):
        kernel = jnp.ones((self.k, x.shape[-1], 2), x.dtype)
        padding = ((self.k - 1, self.k - 1),)
        return lax.conv_general_dilated(
            x, kernel, (1,), padding, lhs_dilation=(self.stride,), dimension_numbers=("NWC", "WIO", "NWC")
        )

    def reads(self, n):
        reads = np.zeros((self.stride * (n - 1) + self.k, n), bool)
        for p in range(n):
            reads[self.stride * p : self.stride * p + self.k, p] = True
        return reads


class Moved:
    """Elements put elsewhere: `index[u]` says which one is u."""

    def __init__(self, name, change, index):
        self.name, self.change, self.index = name, change, index

    def __repr__(self):
        return self.name

    def fits(self, n):
        return 4 <= n <= 16

    def __call__(self, x):
        return self.change(x)

    def reads(self, n):
        return np.eye(n, dtype=bool)[self.index(np.arange(n))]


def doubled(x):
    return jax.image.resize(x, (x.shape[0], 2 * x.shape[1], x.shape[2]), "nearest")


MOVES = [
    Moved("flip", lambda x: jnp.flip(x, 1), lambda i: i[::-1]),
    Moved("roll", lambda x: jnp.roll(x, 2, 1), lambda i: np.roll(i, 2)),
    Moved("crop", lambda x: x[:, 1:-2], lambda i: i[1:-2]),
    Moved("every third", lambda x: x[:, 1::3], lambda i: i[1::3]),
    Moved("repeat", lambda x: jnp.repeat(x, 2, 1), lambda i: np.repeat(i, 2)),
    Moved("nearest", doubled, lambda i: np.repeat(i, 2)),
    Moved("take", lambda x: x[:, np.arange(x.shape[1] - 1, -1, -2)], lambda i: i[::-2]),
    Moved("phases", lambda x: jnp.concatenate([x[:, ::2], x[:, 1::2]], 1), lambda i: np.r_[i[::2], i[1::2]]),
    Moved("slide", lambda x: ops.shift(x, (1,), fill="circular"), lambda i: np.roll(i, 1)),
]


class Branches:
    """A branch that keeps the size, added to what it started from or joined to it in the channels."""

    def __init__(self, layers, join):
        self.layers, self.join = layers, join

    def __repr__(self):
        return f"{self.join} {self.layers}"

    def fits(self, n):
        return all(layer.fits(n) for layer in self.layers)

    def __call__(self, x):
        y = x
        for layer in self.layers:
            y = layer(y)
        if self.join == "concatenate":
            return jnp.concatenate([x, y], -1)
        return x.sum(-1, keepdims=True) + y.sum(-1, keepdims=True)

    def reads(self, n):
        return reads_of(self.layers, n) | np.eye(n, dtype=bool)


def reads_of(layers, n):
    """What a stack of layers reads: the product of its matrices over truth values."""
    reads = np.eye(n, dtype=bool)
    for layer in layers:
        reads = layer.reads(len(reads)) @ reads
    return reads
