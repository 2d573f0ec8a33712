"""Batches of one size hold every row once, in order, and fill up the last with its last row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import runtime
from cnnjax.analysis.inputs.batches import batches, even_size, image_batches, most_at_once


@given(count=st.integers(1, 60), size=st.integers(1, 70))
def test_every_row_is_new_once(count, size):
    parts = list(batches(count, size))
    assert np.concatenate([rows[:new] for rows, new in parts]).tolist() == list(range(count))
    assert {len(rows) for rows, _ in parts} == {min(size, count)}
    for rows, new in parts:
        assert (rows[new:] == count - 1).all()


@given(count=st.integers(1, 200), most=st.integers(1, 70))
def test_even_batches_are_the_fewest_and_the_smallest_of_these(count, most):
    size = even_size(count, most)
    fewest = min(n for n in range(1, count + 1) if n * most >= count)
    assert size <= most
    assert size == min(s for s in range(1, count + 1) if s * fewest >= count)


@pytest.mark.parametrize("shape", [(7, 4, 2, 3), (7, 8, 1)])
def test_images_come_whole_and_in_order(shape, monkeypatch):
    monkeypatch.setattr(runtime, "evaluation_batch", lambda pixels: 24 // pixels)
    assert most_at_once(shape) == 3  # of eight pixels each
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    parts = list(image_batches(images))
    assert [(x.shape[0], len(new)) for x, new in parts] == [(3, 3), (3, 3), (3, 1)]
    np.testing.assert_array_equal(np.concatenate([np.asarray(x)[: len(new)] for x, new in parts]), images)
    for x, new in parts:
        np.testing.assert_array_equal(np.asarray(x)[: len(new)], images[new])
