import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy_passes import passes

from cnnjax.kernels import Geometry
from cnnjax.kernels.calls import call
from tests.drawn_cases import drawn_cases
from tests.repeats import repeated

PASSES = ("forward", "input", "weights")


def drawn(shape, seed, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def operands(geometry, maps, lead=(), dtype=np.float32):
    shapes = ((*lead, maps, *geometry.maps), (*lead, *geometry.kernel), (*lead, maps, *geometry.made))
    return [drawn(shape, seed, dtype) for seed, shape in enumerate(shapes)]


def of(which, x, kernel, cotangent):
    return {"forward": (x, kernel), "input": (cotangent, kernel), "weights": (x, cotangent)}[which]


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def by_kernel(geometry, which, a, b, mapped=(False, False)):
    return call(a, b, geometry=geometry, which=which, mapped=mapped)


def assert_right(geometry, maps):
    x, kernel, cotangent = operands(geometry, maps)
    for which, expected in zip(PASSES, passes(geometry, x, kernel, cotangent), strict=True):
        made = by_kernel(geometry, which, *of(which, x, kernel, cotangent))
        assert (made.shape, made.dtype) == (expected.shape, jnp.float32)
        np.testing.assert_allclose(made, expected, atol=3e-6 * max(1, np.abs(expected).max()), err_msg=which)


def image(height, width, channels, features, window=(3, 3), padding=((1, 1), (1, 1)), stride=(1, 1), **rest):
    return Geometry((height, width), channels, features, window, stride, padding, rest.pop("dilation", (1, 1)), **rest)


@pytest.mark.parametrize(
    "geometry",
    repeated(
        [
            image(9, 13, 3, 16, (3, 5), ((1, 0), (2, 3))),
            image(11, 40, 16, 16, padding=((2, 2), (2, 2)), dilation=(2, 2)),
            image(7, 6, 100, 5, (1, 1), ((0, 0), (0, 0)), (2, 2)),
            image(6, 6, 4, 4, padding=((-1, 0), (0, -2))),
            image(9, 9, 8, 12, groups=4),
            image(9, 10, 37, 37, groups=37, stride=(2, 3)),
            Geometry((30,), 6, 9, (4,), (1,), ((2, 1),), (1,)),
            image(8, 8, 32, 32),
            image(9, 13, 16, 3, stride=(2, 3)),
            image(7, 7, 17, 100),
            image(23, 23, 3, 16, (11, 11), ((2, 2), (2, 2)), (4, 4)),
            image(5, 5, 4, 4, padding=((7, 6), (9, 8))),
            image(9, 9, 12, 12, groups=12),
            image(9, 10, 64, 64, (5, 5), ((4, 4), (4, 4)), groups=64, dilation=(2, 1)),
            image(7, 70, 24, 20),
            Geometry((33,), 20, 20, (5,), (2,), ((2, 2),), (2,), groups=20),
        ],
        quick=7,
    ),
    ids=lambda geometry: geometry.name,
)
def test_every_pass_against_numpy(geometry):
    assert_right(geometry, 3)


@given(
    size=st.lists(st.integers(1, 9), min_size=1, max_size=2),
    numbers=st.tuples(*[st.integers(1, 3) for _ in range(4)], *[st.integers(-1, 4) for _ in range(4)]),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    channels=st.sampled_from([(1, 1, 1), (3, 16, 1), (16, 3, 1), (5, 7, 1), (18, 33, 1), (6, 4, 2), (7, 7, 7)]),
    maps=st.integers(1, 3),
)
@drawn_cases(12)
def test_drawn_convolutions_against_numpy(size, numbers, window, channels, maps):
    rank = len(size)
    pairs = ((numbers[4], numbers[5]), (numbers[6], numbers[7]))[:rank]
    geometry = Geometry(
        tuple(size), channels[0], channels[1], window[:rank], numbers[:rank], pairs, numbers[2 : 2 + rank], channels[2]
    )
    assume(all(geometry.out) and all(n + min(pair) > 0 for n, pair in zip(size, pairs, strict=True)))
    assert_right(geometry, maps)


@pytest.mark.parametrize("mapped", repeated([((True, False),), ((True, True),), ((False, True),)]))
@pytest.mark.parametrize("geometry", [image(6, 7, 5, 18), image(6, 7, 16, 16, groups=16)], ids=("plain", "depthwise"))
def test_copies_are_so_many_convolutions(geometry, mapped):
    x, kernel, cotangent = operands(geometry, 2, lead=(3,))
    for which in PASSES:
        a, b = (v if m else v[0] for v, m in zip(of(which, x, kernel, cotangent), mapped, strict=True))
        made = by_kernel(geometry, which, a, b, mapped)
        for copy, got in enumerate(made):
            one = by_kernel(geometry, which, *(v[copy] if m else v for v, m in zip((a, b), mapped, strict=True)))
            np.testing.assert_array_equal(got, one)


@pytest.mark.parametrize("dtype", repeated([jnp.bfloat16, jnp.float16]))
def test_narrow_numbers_are_added_up_in_float32(dtype):
    geometry = image(6, 7, 64, 16)
    narrow = operands(geometry, 2, dtype=dtype)
    for which in PASSES:
        made = by_kernel(geometry, which, *of(which, *narrow))
        wide = by_kernel(geometry, which, *(v.astype(jnp.float32) for v in of(which, *narrow)))
        assert made.dtype == dtype
        np.testing.assert_array_equal(made, wide.astype(dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_spreads_as_far_as_windows_read_it(value):
    geometry = image(6, 7, 5, 18, stride=(1, 2))
    x, kernel, cotangent = (np.array(v) for v in operands(geometry, 2))
    x[0, 2, 3, 1] = cotangent[1, 2, 1, 3] = value
    for which, reads in zip(PASSES, _reads_it(geometry, x, kernel, cotangent), strict=True):
        made = by_kernel(geometry, which, *map(jnp.asarray, of(which, x, kernel, cotangent)))
        np.testing.assert_array_equal(np.isfinite(made), ~reads, err_msg=which)


def _reads_it(geometry, x, kernel, cotangent):
    """Where each pass reads a number that is not finite: from how many there are in each window."""
    bad_x, bad_cotangent = (~np.isfinite(x)).astype(float), (~np.isfinite(cotangent)).astype(float)
    ones = [np.ones_like(v) for v in (x, kernel, cotangent)]
    of_x = passes(geometry, bad_x, *ones[1:])
    of_cotangent = passes(geometry, *ones[:2], bad_cotangent)
    return of_x[0] > 0, of_cotangent[1] > 0, of_x[2] + of_cotangent[2] > 0


def test_buffers_need_not_be_aligned():
    geometry = image(6, 7, 16, 16)
    x, kernel, cotangent = operands(geometry, 2)
    for which, expected in zip(PASSES, passes(geometry, x, kernel, cotangent), strict=True):
        a, b = of(which, x, kernel, cotangent)

        def shifted(both, which=which, a=a, b=b):
            # Views into one array from an odd place on, as XLA may hand them over.
            first = both[1 : 1 + a.size].reshape(a.shape)
            return call(
                first, both[1 + a.size :].reshape(b.shape), geometry=geometry, which=which, mapped=(False, False)
            )

        both = jnp.concatenate([jnp.zeros(1), a.ravel(), b.ravel()])
        np.testing.assert_allclose(jax.jit(shifted)(both), expected, atol=3e-4)
