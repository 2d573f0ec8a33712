"""Fields of drawn networks, against the definitions of their layers and the closed form."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from cnnjax import analysis
from tests.drawn_cases import drawn_cases
from tests.references.reading_matrices import MOVES, Branches, Conv, Pool, Transposed, reads_of, source

amounts = st.tuples(st.integers(0, 2), st.integers(0, 2))
strides = st.sampled_from([1, 1, 2, 3])
convs = st.builds(Conv, st.integers(1, 4), strides, st.integers(1, 3), amounts)
bordered = st.builds(Conv, st.integers(1, 4), strides, st.integers(1, 2), st.sampled_from(["circular", "reflect"]))
pools = st.builds(Pool, st.integers(1, 3), st.integers(1, 3), amounts)
transposed = st.builds(Transposed, st.integers(1, 4), st.integers(1, 3))
keeping = st.builds(
    lambda k, d: Conv(k, 1, d, ((k - 1) * d // 2, (k - 1) * d - (k - 1) * d // 2)), st.integers(1, 4), st.integers(1, 2)
)
branches = st.builds(Branches, st.lists(keeping, min_size=1, max_size=2), st.sampled_from(["add", "concatenate"]))


@st.composite
def stacks(draw, layers, most=5):
    """Layers that fit one on top of another, and the length of the signal."""
    n = size = draw(st.integers(4, 20))
    stack = []
    for layer in draw(st.lists(layers, min_size=1, max_size=most)):
        if layer.fits(size):
            stack.append(layer)
            size = len(layer.reads(size))
    return stack, n


def field_of(stack, n):
    def network(x):
        return functools.reduce(lambda y, layer: layer(y), stack, x)

    return analysis.receptive_field(network, jax.ShapeDtypeStruct((1, n, 1), jnp.float32))


def per_unit(field, units):
    """What each of the output's units reads; where all are alike, the field has one for all of them."""
    (reads,) = field.reads
    assert len(reads) in (units, 1)
    return np.broadcast_to(reads, (units, reads.shape[1]))


def check(stack, n):
    """The field says what each unit reads, and a span that holds it; returns the field and the truth."""
    field, truth = field_of(stack, n), reads_of(stack, n)
    np.testing.assert_array_equal(per_unit(field, len(truth)), truth)
    assert field.unfollowed == ()
    assert not field.selected
    inside = 0
    for u in range(len(truth)):
        (first, last), (reads,) = field.span((u,))[0], field.support((u,))
        span = range(first, last + 1)
        if first >= 0 and last < n:
            inside += 1
            assert set(reads) <= set(span)
            if field.exact[0]:
                assert (list(reads[[0, -1]]) if len(reads) else []) == ([first, last] if span else [])
        elif field.border[0] == "clipped":
            low, high = field.clipped_span((u,))[0]
            assert all(low <= p <= high for p in reads)
        elif field.border[0] != "other":
            assert set(reads) <= {source(p, n, field.border[0]) for p in span}
    if field.border[0] == "other":
        assert inside or not field.exact[0]
    return field, truth


@given(stacks(convs | pools))
@example(([Pool(3, 3, (0, 0))], 4))  # one window: its stride is still 3
@drawn_cases(40)
def test_plain_stacks_have_the_closed_form(drawn):
    stack, n = drawn
    field, truth = check(stack, n)
    jumps = [math.prod(layer.stride for layer in stack[:i]) for i in range(len(stack) + 1)]
    dilated = [1 if isinstance(layer, Pool) else layer.dilation for layer in stack]
    r = 1 + sum(d * (layer.k - 1) * jump for d, layer, jump in zip(dilated, stack, jumps, strict=False))
    padding = sum(layer.padding[0] * jump for layer, jump in zip(stack, jumps, strict=False))
    if truth.any():
        assert (field.size, field.stride, field.padding) == ((r,), (jumps[-1],), (padding,))
        assert (field.exact, field.aligned, field.border) == ((True,), (True,), ("clipped",))
        assert field.units == (len(truth),)


@given(stacks(convs | bordered))
@drawn_cases(30)
def test_borders_with_content(drawn):
    stack, n = drawn
    field, _ = check(stack, n)
    plain = [Conv(layer.k, layer.stride, layer.dilation, layer.amounts()) for layer in stack]
    expected = field_of(plain, n)
    # Units inside are there to compare, or the whole is a single span.
    if field.stride[0]:
        assert (field.size, field.stride, field.padding) == (expected.size, expected.stride, expected.padding)


@given(stacks(convs | pools | bordered | transposed | branches | st.sampled_from(MOVES)))
@drawn_cases(60)
def test_drawn_networks(drawn):
    check(*drawn)


@given(stacks(keeping | st.sampled_from(MOVES[:2]), most=3), stacks(keeping, most=3))
@drawn_cases(10)
def test_the_axes_of_an_image_are_independent(rows, columns):
    (over_rows, height), (over_columns, width) = rows, columns

    def network(x):
        batch, _, _, channels = x.shape
        by_column = x.transpose(0, 2, 1, 3).reshape(batch * width, height, channels)
        y = functools.reduce(lambda y, layer: layer(y), over_rows, by_column)
        by_row = y.reshape(batch, width, height, -1).transpose(0, 2, 1, 3).reshape(batch * height, width, -1)
        y = functools.reduce(lambda y, layer: layer(y), over_columns, by_row)
        return y.reshape(batch, height, width, -1)

    field = analysis.receptive_field(network, jax.ShapeDtypeStruct((2, height, width, 1), jnp.float32))
    for reads, stack, n in zip(field.reads, (over_rows, over_columns), (height, width), strict=True):
        np.testing.assert_array_equal(reads, reads_of(stack, n))
    assert not field.mixes_images
