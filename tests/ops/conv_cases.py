"""Configurations of a convolution, drawn so that each is one that `conv` accepts, and arrays for them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

PADDINGS = ["valid", "same", "full", "circular", "reflect", "same_xla", "int", "pairs"]
# A padding in one precision each: a case is a program to compile.
PADDINGS_AND_DTYPES = [(padding, (np.float64, np.float32)[i % 2]) for i, padding in enumerate(PADDINGS)]
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


class Case(NamedTuple):
    """A map, a kernel and the options of `conv`."""

    input_size: tuple
    kernel_shape: tuple
    options: dict

    @property
    def x_shape(self):
        return (2, *self.input_size, self.kernel_shape[-2] * self.options["groups"])


@st.composite
def cases(draw, padding, *, strides=(1, 3), dilations=(1, 2), max_window=4):
    """One or two spatial axes, even and odd windows, at times wider than the map where the padding allows it."""
    rank = draw(st.integers(1, 2))
    stride, dilation, window = (
        tuple(draw(st.integers(*bounds)) for _ in range(rank)) for bounds in (strides, dilations, (1, max_window))
    )
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]
    if padding == "int":
        padding = draw(st.integers(0, 3))
    elif padding == "pairs":
        padding = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(rank))
    match padding:
        case "valid":
            least = spans
        case "reflect":
            least = [span // 2 + 1 for span in spans]
        case str():
            least = [1] * rank
        case int():
            least = [span - 2 * padding for span in spans]
        case _:
            least = [span - sum(pair) for span, pair in zip(spans, padding, strict=True)]
    input_size = tuple(draw(st.integers(max(n, 1), max(n, 1) + 5)) for n in least)
    groups, per_in, per_out = draw(st.sampled_from([(1, 2, 3), (1, 1, 1), (2, 2, 1), (3, 1, 2)]))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Case(input_size, (*window, per_in, per_out * groups), options)


def normal(shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def integers(shape, seed=0):
    """Small integers as floats: sums of their products are exact in any order."""
    return jnp.asarray(np.random.default_rng(seed).integers(-4, 5, size=shape), jnp.float32)


def assert_close(actual, expected, dtype):
    """Equal up to the tolerance of the dtype, relative to the largest value."""
    assert actual.dtype == dtype
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)
