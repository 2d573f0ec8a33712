"""Moving elements about, against NumPy on an array of positions; bounds on integers, against all values in them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from cnnjax.program.reach import Value, follow
from cnnjax.program.reach.known import Call, Known
from tests.drawn_cases import drawn_cases


def factors(draw, size):
    """Sizes whose product is this one."""
    shape = []
    while size > 1:
        part = draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0]))
        shape.append(part)
        size //= part
        if len(shape) == 4:
            break
    return (*shape, size)


@st.composite
def moves(draw):
    """A function that only moves elements, as NumPy and JAX both have it, and a shape of images."""
    shape = (1, draw(st.sampled_from([4, 6, 8])), draw(st.sampled_from([2, 3, 4, 12])), draw(st.integers(1, 2)))
    steps, form = [], shape
    for kind in draw(st.lists(st.sampled_from(["reshape", "transpose", "flip", "slice", "pair"]), max_size=6)):
        if kind == "reshape":
            form = factors(draw, int(np.prod(form)))
            steps.append(lambda np_, x, to=form: np_.reshape(x, to))
        elif kind == "transpose":
            order = tuple(draw(st.permutations(range(len(form)))))
            form = tuple(form[a] for a in order)
            steps.append(lambda np_, x, order=order: np_.transpose(x, order))
        else:
            axis = draw(st.integers(0, len(form) - 1))
            if kind == "flip":
                steps.append(lambda np_, x, axis=axis: np_.flip(x, axis))
            elif kind == "slice":
                keep = slice(draw(st.integers(0, form[axis] - 1)), None, draw(st.integers(1, 2)))
                at = (*(slice(None),) * axis, keep)
                form = np.zeros(form)[at].shape
                steps.append(lambda np_, x, at=at: x[at])
            elif np.prod(form) < 200:
                form = (*form[:axis], 2 * form[axis], *form[axis + 1 :])
                steps.append(lambda np_, x, axis=axis: np_.concatenate([x, x], axis))

    def moved(np_, x):
        for step in steps:
            x = step(np_, x)
        return x

    return moved, shape


@given(moves())
@drawn_cases(100)
def test_elements_keep_their_positions(drawn):
    moved, shape = drawn
    program = jax.make_jaxpr(lambda x: moved(jnp, x))(jax.ShapeDtypeStruct(shape, jnp.float32))
    (value,) = follow(program, [Value.images(shape, np.dtype(np.float32))])
    for axis, reach in enumerate(value.reaches):
        positions, n = moved(np, np.indices(shape)[axis]), shape[axis]
        assert reach.shape == positions.shape
        digits = [digit for row in reach.axes for digit in row]
        sets = np.unpackbits(reach.sets, axis=-1, count=n, bitorder="little")
        sets = np.broadcast_to(sets, (*(digit.size for digit in digits), n)).reshape(-1, n)
        np.testing.assert_array_equal(sets, np.eye(n)[positions.ravel()])
        if "concatenate" not in str(program):
            # Where nothing was put together, the rule holds for every element too.
            assert reach.ends is not None
            first, last = reach.ends
            for place, index in zip(positions.flat, itertools.product(*(range(d.size) for d in digits)), strict=True):
                shift = sum(d.slope * u for d, u in zip(digits, index, strict=True))
                assert first + shift <= place <= last + shift


BINARY = ["add", "sub", "mul", "div", "rem", "max", "min", "lt", "le", "gt", "ge", "eq", "ne"]
intervals = st.tuples(st.integers(-6, 6), st.integers(0, 4)).map(lambda p: (p[0], p[0] + p[1]))


def bounded(low, high, dtype=np.int32):
    known = Known((), np.dtype(dtype), frozenset())
    known.bounds = np.asarray(low, dtype), np.asarray(high, dtype)
    return known


def bounds_of(f, *operands):
    structs = [jax.ShapeDtypeStruct((), known.dtype) for known in operands]
    (eqn,) = jax.make_jaxpr(f)(*structs).eqns
    return Call(eqn, operands).outputs()[0].bounds


@pytest.mark.parametrize("name", BINARY)
@given(a=intervals, b=intervals)
@drawn_cases(12)
def test_bounds_hold_for_all_values(name, a, b):
    low, high = bounds_of(getattr(lax, name), bounded(*a), bounded(*b))
    values = [np.arange(lo, hi + 1, dtype=np.int32) for lo, hi in (a, b)]
    pairs = np.array([pair for pair in itertools.product(*values) if pair[1] or name not in ("div", "rem")])
    if len(pairs):
        results = np.asarray(getattr(lax, name)(*pairs.astype(np.int32).T))
        assert low <= results.min()
        assert results.max() <= high


@pytest.mark.parametrize("name", ["add", "sub", "mul", "max", "min", "lt", "le", "gt", "ge", "eq", "ne"])
def test_bounds_are_tight_where_all_values_are_met(name):
    low, high = bounds_of(getattr(lax, name), bounded(-2, 3), bounded(-1, 2))
    results = np.asarray(getattr(lax, name)(*np.array(list(itertools.product(range(-2, 4), range(-1, 3))), np.int32).T))
    assert (low, high) == (results.min(), results.max())


def test_bounds_of_choices():
    def choose(which, a, b):
        return lax.select_n(which, a, b)

    assert bounds_of(choose, bounded(0, 1, bool), bounded(1, 2), bounded(5, 6)) == (1, 6)
    assert bounds_of(choose, bounded(1, 1, bool), bounded(1, 2), bounded(5, 6)) == (5, 6)
    assert bounds_of(lambda a, b: lax.bitwise_and(a, b), bounded(0, 1, bool), bounded(0, 0, bool)) == (0, 0)
    assert bounds_of(lax.bitwise_not, bounded(0, 0, bool)) == (1, 1)


def test_what_wraps_round_has_no_bounds():
    assert bounds_of(lax.add, bounded(3, 3, np.uint8), bounded(1, 2, np.uint8)) == (0, 255)
    low, high = bounds_of(lax.bitwise_and, bounded(-1, -1), bounded(5, 6))
    assert low < 0 < 2**20 < high
