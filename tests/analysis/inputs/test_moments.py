"""Means and deviations of values that come in batches are those of all values at once."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnjax.analysis.inputs.moments import Moments
from tests.drawn_cases import drawn_cases


@given(st.lists(st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=4), min_size=1, max_size=5), st.data())
@drawn_cases(30)
def test_moments_of_batches_are_those_of_all_values(batches, data):
    counts = [data.draw(st.integers(1, 4)) for _ in batches]
    moments, seen = Moments.of_none((), jnp.float32), []
    for values, count in zip(batches, counts, strict=True):
        moments = moments.with_batch(jnp.array(values, jnp.float32), jnp.arange(4) < count)
        seen += values[:count]
    np.testing.assert_allclose(moments.mean, np.mean(seen), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(moments.squares, np.square(np.array(seen) - np.mean(seen)).sum(), rtol=1e-4, atol=1e-2)
    assert (moments.squares == 0) or len(set(seen)) > 1


def moments_of(values, size):
    """Of all values, `size` at a time; the last batch is filled up with numbers that do not count."""
    moments = Moments.of_none(values.shape[1:], values.dtype)
    for start in range(0, len(values), size):
        batch = values[start : start + size]
        filled = np.concatenate([batch, np.full((size - len(batch), *batch.shape[1:]), 99, batch.dtype)])
        moments = moments.with_batch(jnp.asarray(filled), jnp.arange(size) < len(batch))
    return moments


@pytest.mark.parametrize("size", [1, 4, 11])
def test_the_deviation_of_each_unit_is_that_of_its_values(size):
    values = np.random.default_rng(0).normal(size=(11, 2, 3)).astype(np.float32)
    moments = moments_of(values, size)
    np.testing.assert_allclose(moments.deviation, values.std(axis=0, ddof=1), rtol=1e-5)
    assert moments.number == len(values)


def test_equal_values_have_no_deviation_whatever_their_size():
    values = np.full((7, 2), 0.1, np.float32) * np.array([1, 1e6], np.float32)
    moments = moments_of(values, 3)
    np.testing.assert_array_equal(moments.deviation, 0)
    np.testing.assert_array_equal(moments.mean, values[0])
