"""The flip rate alone, and fact 10 through the whole of the protocol."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.tree_util import Partial

from cnnjax import InputError, analysis
from tests.drawn_cases import drawn_cases
from tests.references.frameworks import MAKERS, other_frameworks, plain

# Each image is one pixel that holds its number; a transform adds 100 times its own. The answers stand in a table.
FRAMES = np.array([1, 2, 3], np.float32)
PATH = analysis.Orbit("frames", FRAMES, np.zeros((), np.float32), lambda x, t: x + 100 * t, "exact", ((0, 1, 2, 3),))
IMAGES = np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1)


def answers(table, images):
    number = jnp.round(images[:, 0, 0, 0]).astype(jnp.int32)
    return jax.nn.one_hot(table[number // 100, number % 100], 3)


tables = st.lists(st.lists(st.integers(0, 1), min_size=4, max_size=4), min_size=4, max_size=4).flatmap(
    lambda table: st.sampled_from([table, [table[0]] * 4, [*[table[0]] * 3, table[1]]])
)


@given(tables)
@drawn_cases(30)
def test_consistency_is_1_exactly_when_the_prediction_is_constant_over_the_orbit(table):
    classify = Partial(answers, jnp.array(table, jnp.int32))
    constant = all(row == table[0] for row in table)
    rate = analysis.flip_rate(classify, IMAGES, PATH)
    found = analysis.consistency(classify, IMAGES, PATH)
    assert (found["consistency"].mean == 1) == constant
    assert (rate == 0) == constant
    flips = [table[a][i] != table[b][i] for i in range(4) for a, b in itertools.pairwise(range(4))]
    assert rate == found["flip_rate"].mean == pytest.approx(np.mean(flips))


def test_a_class_that_alternates_flips_at_every_step():
    table = jnp.array([[0] * 4, [1] * 4, [0] * 4, [1] * 4], jnp.int32)
    assert analysis.flip_rate(Partial(answers, table), IMAGES, PATH) == 1
    # Against the first frame, as for noise, two of three differ.
    assert analysis.consistency(Partial(answers, table), IMAGES, PATH)["consistency"].mean == pytest.approx(1 / 3)


RANDOM = np.random.default_rng(0).random((40, 6, 6, 1)).astype(np.float32)


@functools.cache
def of_framework(make):
    network = make()
    middle = np.asarray(jax.jit(plain)(RANDOM)[0]).mean(0, keepdims=True)
    return analysis.flip_rate(lambda x: network(x)[0] - middle, RANDOM, analysis.shifts(2))


@other_frameworks
def test_every_framework_gives_the_same(make):
    expected = of_framework(MAKERS["plain"])
    assert 0.05 < expected < 0.95
    assert of_framework(make) == pytest.approx(expected, abs=1e-3)


def test_an_orbit_without_paths_is_refused():
    with pytest.raises(InputError, match="orbit frames has no paths"):
        analysis.flip_rate(lambda x: x.mean((1, 2)), IMAGES, dataclasses.replace(PATH, paths=()))
