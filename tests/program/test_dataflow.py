"""What arrays are made of, against sets written out, on drawn graphs of matrix products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax.program.dataflow import Dataflow

SIDE, INPUTS = 2, 3


def drawn_graph(seed, steps=12):
    """The pair of earlier matrices that each one is the product of; the first `INPUTS` are given."""
    random = np.random.default_rng(seed)
    return [tuple(random.integers(INPUTS + step, size=2).tolist()) for step in range(steps)]


def products(pairs):
    def f(*matrices):
        arrays = list(matrices)
        for step, (i, j) in enumerate(pairs):
            # Some of them in a call: what is computed does not change.
            arrays.append(jax.jit(jnp.matmul)(arrays[i], arrays[j]) if step % 3 == 0 else arrays[i] @ arrays[j])
        return arrays[INPUTS:]

    return Dataflow(jax.make_jaxpr(f)(*[jnp.zeros((SIDE, SIDE))] * INPUTS))


def needed(pairs, array):
    """All that an array is made of, itself included."""
    found = {array}
    for step in reversed(range(len(pairs))):
        if INPUTS + step in found:
            found.update(pairs[step])
    return found


@pytest.mark.parametrize("seed", range(5))
def test_the_work_behind_each_array_is_claimed_once(seed):
    pairs = drawn_graph(seed)
    flow, claimed = products(pairs), set()
    for array in np.random.default_rng(seed).permutation(np.arange(INPUTS, INPUTS + len(pairs))).tolist():
        new = needed(pairs, array) - claimed
        claimed |= new
        total, read = flow.claim(flow.results[array - INPUTS])
        assert total.multiply_adds == SIDE**3 * sum(a >= INPUTS for a in new)
        assert {flow.inputs.index(a) for a in read} == {a for a in new if a < INPUTS}


@pytest.mark.parametrize("seed", range(5))
def test_positions_are_in_the_order_of_computation_and_of_the_first_reader(seed):
    pairs = drawn_graph(seed)
    flow = products(pairs)
    assert sorted(flow.results, key=flow.position) == flow.results
    for i, array in enumerate(flow.inputs):
        readers = [step for step, pair in enumerate(pairs) if i in pair]
        assert flow.first_read(array) == (min(readers) if readers else len(pairs))


def test_a_copy_stands_right_behind_what_it_is_a_copy_of():
    def f(x):
        first = jnp.sin(x)
        second = jnp.cos(first)
        return second, first.T, first, first.T.reshape(-1)

    flow = Dataflow(jax.make_jaxpr(f)(jnp.zeros((2, 3))))
    second, transposed, first, flat = flow.results
    assert [flow.source(array) for array in flow.results] == [second, first, first, first]
    assert sorted(flow.results, key=flow.position) == [first, transposed, flat, second]


def test_constants_are_known_by_their_value_once():
    table = jnp.arange(3.0)
    flow = Dataflow(jax.make_jaxpr(lambda x: (x + table) * table)(table))
    assert [np.asarray(value).tolist() for value in flow.constants.values()] == [[0, 1, 2]]
