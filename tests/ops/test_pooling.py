import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import InputError, ops
from tests.drawn_cases import drawn_cases
from tests.gradients import check_gradients
from tests.repeats import repeated


def distinct(shape, seed=0, dtype=np.float32):
    """No two equal values, so that every maximum stands out by more than a step of finite differences."""
    size = int(np.prod(shape))
    return jnp.asarray(np.random.default_rng(seed).permutation(size).reshape(shape) / size, dtype)


@functools.partial(jax.jit, static_argnames=("window", "stride", "padding"))
def pooled_and_gradient(x, window, **options):
    """The maxima and the gradient of their sum."""
    y, pull = jax.vjp(lambda x: ops.max_pool(x, window, **options), x)
    return y, pull(jnp.ones_like(y))[0]


@given(
    case=st.sampled_from([((2, 9, 3), (3, 1)), ((1, 7, 6, 2), (2, 3)), ((2, 8, 4, 1), (2, 2)), ((1, 9, 9, 2), (3, 3))]),
    stride=st.one_of(st.none(), st.tuples(st.integers(1, 3), st.integers(1, 3))),
)
@drawn_cases(3)
@pytest.mark.parametrize("padding", ["valid", "same", "full", "circular", "reflect", "same_xla", 1, "pairs"])
def test_pools_against_loops(case, stride, padding):
    shape, window = case
    rank = len(shape) - 2
    window = window[:rank]
    stride = stride and stride[:rank]
    padding = ((1, 0), (0, 1))[:rank] if padding == "pairs" else padding
    x = distinct(shape)
    for op, reduce, nothing in ((ops.max_pool, np.max, -np.inf), (ops.avg_pool, np.mean, 0.0)):
        expected = numpy_loops.pool(
            np.asarray(x), window, stride=stride or window, padding=padding, reduce=reduce, nothing=nothing
        )
        jitted = jax.jit(functools.partial(op, window=window, stride=stride, padding=padding))
        np.testing.assert_allclose(jitted(x), expected, rtol=1e-5)


@pytest.mark.parametrize("op", [ops.max_pool, ops.avg_pool])
def test_eager_is_jitted(op):
    x, options = distinct((1, 5, 6, 1)), {"window": (2, 3), "stride": 2, "padding": "reflect"}
    np.testing.assert_array_equal(op(x, **options), jax.jit(functools.partial(op, **options))(x))


@pytest.mark.parametrize(
    ("shape", "window", "options"),
    repeated(
        [
            ((2, 7, 2), 2, {}),
            ((1, 6, 6, 2), 3, {"stride": 2, "padding": "same"}),
            ((1, 5, 6, 1), (2, 3), {"stride": 1, "padding": "reflect"}),
            ((1, 6, 7, 2), (3, 2), {}),
            ((1, 5, 6, 1), (2, 3), {"stride": 2, "padding": "circular"}),
        ],
        quick=3,
    ),
)
def test_gradients_forward_and_reverse(shape, window, options):
    with jax.enable_x64(True):
        x = distinct(shape, dtype=np.float64)
        both = jax.jit(lambda x: [op(x, window, **options) for op in (ops.max_pool, ops.avg_pool)])
        check_gradients(both, (x,), eps=1e-4)


class TestTheFirstOfEqualMaximaIsTaken:
    @pytest.mark.parametrize("stride", [1, 2])
    def test_in_row_major_order(self, stride):
        # The second time, the second column comes before the second row.
        x = np.asarray([[[0, 0], [0, 0]], [[0, 1], [1, 1]]], np.float32)[..., None]
        _, gradient = pooled_and_gradient(x, window=2, stride=stride)
        np.testing.assert_array_equal(gradient[..., 0], [[[1, 0], [0, 0]], [[0, 1], [0, 0]]])

    @pytest.mark.parametrize(
        ("shape", "window", "stride", "pairs", "dtype"),
        repeated(
            [
                ((2, 8, 8, 2), (3, 3), (2, 2), ((1, 1), (1, 1)), "bfloat16"),
                ((2, 9, 2), (2,), (2,), ((0, 0),), "float64"),
                ((1, 7, 6, 2), (2, 3), (3, 1), ((1, 1), (2, 1)), "float32"),
                ((1, 4, 36, 1), (2, 35), (1, 1), ((0, 0), (3, 2)), "float32"),
                ((2, 8, 8, 2), (2, 2), (2, 2), ((0, 0), (0, 0)), "bfloat16"),
                ((2, 7, 7, 2), (3, 3), (2, 2), ((0, 0), (0, 0)), "float32"),
                ((2, 9, 2), (4,), (2,), ((2, 3),), "float64"),
                ((2, 9, 2), (3,), (5,), ((0, 2),), "float32"),
            ],
            quick=4,
        ),
    )
    def test_as_in_the_compilers_own_rule_on_maps_full_of_ties(self, shape, window, stride, pairs, dtype):
        rng = np.random.default_rng(len(shape) + sum(window))
        border = ((0, 0), *pairs, (0, 0))

        def plain(x):
            return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, *window, 1), (1, *stride, 1), border)

        def results(op, *arrays):
            return jax.jit(lambda x, ct: (op(x), jax.vjp(op, x)[1](ct)[0]))(*arrays)

        with jax.enable_x64(True):
            x = jnp.asarray(rng.integers(0, 3, size=shape), dtype)
            # Whole numbers, so that overlapping windows add up to the same in any order.
            cotangent = jnp.asarray(rng.integers(-8, 9, size=jax.eval_shape(plain, x).shape), dtype)
            ours = results(lambda x: ops.max_pool(x, window, stride=stride, padding=pairs), x, cotangent)
            for array, expected in zip(ours, results(plain, x, cotangent), strict=True):
                assert array.dtype == x.dtype
                np.testing.assert_array_equal(array, expected)

    @pytest.mark.parametrize(
        ("padding", "window", "stride"),
        [
            ("same", (3, 2), (2, 1)),
            ("full", (2, 3), (2, 3)),
            ("circular", (2, 3), (2, 3)),
            ("reflect", (3, 2), (2, 1)),
            ("same_xla", (3, 2), (2, 1)),
            ("pairs", (2, 3), (2, 3)),
        ],
    )
    def test_as_written_out_for_every_padding(self, padding, window, stride):
        padding = ((1, 0), (0, 1)) if padding == "pairs" else padding
        rng = np.random.default_rng(4)
        x = rng.integers(0, 3, size=(1, 5, 6, 2)).astype(np.float32)

        def pool(x):
            return ops.max_pool(x, window, stride=stride, padding=padding)

        shape = jax.eval_shape(pool, x).shape
        cotangent = rng.integers(-8, 9, size=shape).astype(np.float32)
        np.testing.assert_array_equal(
            jax.jit(lambda x, ct: jax.vjp(pool, x)[1](ct)[0])(x, cotangent),
            numpy_loops.unpool(
                cotangent,
                numpy_loops.switches(x, window, stride=stride, padding=padding),
                x.shape[1:-1],
                window,
                stride=stride,
                padding=padding,
            ),
        )

    def test_global_max_pool_too(self):
        gradient = np.asarray(jax.jit(jax.grad(lambda x: ops.global_max_pool(x).sum()))(np.ones((1, 20, 20, 1), "f")))
        assert gradient[0, 0, 0, 0] == 1
        assert gradient.sum() == 1


class TestNanPropagates:
    @pytest.mark.parametrize("options", [{}, {"stride": 1}, {"padding": 1}])
    @pytest.mark.parametrize("op", [ops.max_pool, ops.avg_pool])
    def test_to_every_window_that_sees_it(self, op, options):
        x, marked = np.ones((1, 4, 4, 1), np.float32), np.zeros((1, 4, 4, 1), np.float32)
        x[0, 2, 3, 0], marked[0, 2, 3, 0] = np.nan, 1
        pool = jax.jit(functools.partial(op, window=2, **options))
        np.testing.assert_array_equal(np.isnan(pool(x)), np.asarray(pool(marked)) > 0)

    def test_and_takes_the_gradient(self):
        x = np.asarray([[0, np.nan], [2, 3]], np.float32).reshape(1, 2, 2, 1)
        _, gradient = pooled_and_gradient(x, window=2)
        np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 1], [0, 0]])


class TestTransformationsOfTheMask:
    def test_jvp_is_the_tangent_of_the_maximum(self):
        x, tangent = np.asarray(distinct((1, 4, 4, 1))), np.asarray(distinct((1, 4, 4, 1), seed=1))
        moved = jax.jit(lambda x, t: jax.jvp(lambda x: ops.max_pool(x, 2), (x,), (t,))[1])(x, tangent)
        for i, j in np.ndindex(2, 2):
            block = np.s_[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 0]
            assert moved[0, i, j, 0] == tangent[block].ravel()[np.argmax(x[block])]

    def test_vmap_of_jitted_gradients_with_one_of_them_used_twice(self):
        x = np.asarray(distinct((3, 2, 6, 6, 1)))
        gradient = jax.jit(jax.grad(lambda x: (ops.max_pool(ops.max_pool(x, 2), 3) ** 2).sum()))
        together = jax.jit(jax.vmap(gradient))(x)
        np.testing.assert_array_equal(together, np.stack([gradient(a) for a in x]))
        hessian = jax.vmap(jax.hessian(lambda x: (ops.max_pool(x[None, :, None], 4) ** 2).sum()))
        hessian = np.asarray(jax.jit(hessian)(distinct((2, 4))))
        np.testing.assert_array_equal(
            hessian, np.stack([2 * np.diag(np.arange(4) == i) for i in hessian.diagonal(axis1=1, axis2=2).argmax(1)])
        )

    def test_infinite_cotangent_stays_where_it_belongs(self):
        x = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
        pull = jax.jit(lambda x, ct: jax.vjp(lambda x: ops.max_pool(x, 2), x)[1](ct))
        (gradient,) = pull(x, np.full((1, 1, 1, 1), np.inf, np.float32))
        np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 0], [0, jnp.inf]])

    def test_second_derivatives_of_windows_that_overlap(self):
        x = np.asarray(distinct((5,)))

        def energy(x):
            return (ops.max_pool(x[None, :, None], 3, stride=1) ** 2).sum()

        chosen = np.asarray([start + np.argmax(x[start : start + 3]) for start in range(3)])
        expected = np.diag(2.0 * np.bincount(chosen, minlength=5))
        for found in jax.jit(lambda x: (jax.hessian(energy)(x), jax.jacfwd(jax.jacfwd(energy))(x)))(x):
            np.testing.assert_array_equal(found, expected)

    def test_overlapping_windows_under_vmap(self):
        x = np.asarray(distinct((3, 2, 5, 5, 1)))
        gradient = jax.jit(jax.grad(lambda x: (ops.max_pool(x, 3, stride=2, padding=1) ** 2).sum()))
        np.testing.assert_array_equal(jax.jit(jax.vmap(gradient))(x), np.stack([gradient(a) for a in x]))


class TestWindowsOfInfinities:
    def test_the_gradient_stays_on_the_map(self):
        x = np.full((1, 3, 3, 1), -np.inf, np.float32)
        y, gradient = pooled_and_gradient(x, window=3, stride=2, padding=1)
        np.testing.assert_array_equal(y, np.full((1, 2, 2, 1), -np.inf))
        np.testing.assert_array_equal(gradient[0, :, :, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]])

    def test_infinity_and_nan_take_it_from_numbers(self):
        x = np.asarray([0, 1, np.inf, 2, 3, np.nan, np.nan, 4], np.float32).reshape(1, 8, 1)
        y, gradient = pooled_and_gradient(x, window=3, stride=1)
        np.testing.assert_array_equal(np.ravel(y), [np.inf, np.inf, np.inf, np.nan, np.nan, np.nan])
        np.testing.assert_array_equal(np.ravel(gradient), [0, 0, 3, 0, 0, 3, 0, 0])


def test_rows_that_fill_no_window_are_not_read():
    x = np.asarray(distinct((1, 5, 7, 1)))
    for op in (ops.max_pool, ops.avg_pool):
        whole, pull = jax.vjp(jax.jit(functools.partial(op, window=2)), x)
        np.testing.assert_array_equal(whole, jax.jit(functools.partial(op, window=2))(x[:, :4, :6]))
        gradient = np.asarray(pull(np.ones(whole.shape, np.float32))[0])
        assert not gradient[:, 4].any()
        assert not gradient[:, :, 6].any()


def test_a_noisy_peak_moves_the_mean_by_a_share_and_the_maximum_by_all():
    peak, k = 9.0, 3
    x = np.ones((2, 6, 6, 1), np.float32)
    x[1, 1, 4, 0] += peak
    both = jax.jit(lambda x: (ops.avg_pool(x, k)[..., 0], ops.max_pool(x, k)[..., 0]))
    (mean, noisy_mean), (largest, noisy_largest) = map(np.asarray, both(x))
    np.testing.assert_allclose(noisy_mean - mean, [[0, peak / k**2], [0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(noisy_largest - largest, [[0, peak], [0, 0]])


def test_padded_zeros_count_in_the_mean_and_never_win_the_maximum():
    x = -np.ones((1, 2, 2, 1), np.float32)
    mean, largest = jax.jit(lambda x: (ops.avg_pool(x, 2, padding=1), ops.max_pool(x, 2, padding=1)))(x)
    np.testing.assert_array_equal(mean, np.full((1, 2, 2, 1), -0.25))
    np.testing.assert_array_equal(largest, np.full((1, 2, 2, 1), -1.0))


def test_bfloat16_means_are_summed_in_float32():
    x = np.full((1, 32, 32, 1), 0.1, jnp.bfloat16)
    for y in jax.jit(lambda x: (ops.avg_pool(x, 32), ops.global_avg_pool(x)))(x):
        assert y.dtype == jnp.bfloat16
        np.testing.assert_array_equal(np.ravel(y), x[0, 0, 0])
    assert jax.eval_shape(lambda x: ops.max_pool(x, 2), x).dtype == jnp.bfloat16


def test_global_pools():
    for shape in ((2, 5, 3), (2, 4, 6, 3)):
        x = np.asarray(distinct(shape))
        axes = tuple(range(1, len(shape) - 1))
        largest, mean = jax.jit(lambda x: (ops.global_max_pool(x), ops.global_avg_pool(x)))(x)
        np.testing.assert_array_equal(largest, np.max(x, axes))
        np.testing.assert_allclose(mean, np.mean(x, axes), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "window", "options", "message"),
    [
        ((1, 4, 4, 1), 5, {}, r"the window spans 5 positions, more than the 4 of the padded map"),
        ((1, 4, 4, 1), (2, 2, 2), {}, r"window=\(2, 2, 2\) must be a positive int, or 2 of them"),
        ((1, 4, 4, 1), 0, {}, r"window=0 must be"),
        ((1, 4, 4, 1), 2, {"stride": 0}, r"stride=0 must be a positive int"),
        ((1, 4, 4, 1), 2, {"padding": "zero"}, r"padding='zero' is unknown; use one of valid"),
        ((4, 4), 2, {}, r"x has shape \(4, 4\); expected"),
    ],
)
def test_errors_name_the_value_and_the_remedy(shape, window, options, message):
    for op in (ops.max_pool, ops.avg_pool):
        with pytest.raises(InputError, match=message):
            op(jnp.ones(shape), window, **options)


def test_windows_of_nothing_but_padding_have_no_maximum():
    with pytest.raises(
        InputError, match=r"padding=2 makes a window of 2 out of nothing but padding, .* Pad less than the window size"
    ):
        ops.max_pool(jnp.ones((1, 4, 1)), 2, padding=2)
    with pytest.raises(InputError, match=r"padding=1000000000 makes a window of 2 out of nothing but padding"):
        ops.max_pool(jnp.ones((1, 4, 1)), 2, padding=10**9)


def test_integers_are_refused():
    for op in (ops.global_max_pool, ops.global_avg_pool):
        with pytest.raises(InputError, match=r"x is uint8; pooling needs floating point. Decode uint8 images"):
            op(jnp.ones((1, 4, 4, 1), jnp.uint8))
