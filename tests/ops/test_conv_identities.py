"""What holds of every convolution: the arithmetic of its shapes, linearity, its algebra, and equivariance."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
import scipy.signal
from conv_cases import PADDINGS_AND_DTYPES, assert_close, cases, integers, normal
from hypothesis import assume, given
from hypothesis import strategies as st

from cnnjax import InputError, ops
from tests.drawn_cases import drawn_cases
from tests.repeats import repeated

float_types = st.sampled_from([np.float32, np.float64])


# The relations of "A guide to convolution arithmetic": the size that comes out, and the options that make it.
FORWARD = {
    1: lambda i, k, s, p, d: (i - k + 1, {"padding": "valid"}),
    2: lambda i, k, s, p, d: (i - k + 2 * p + 1, {"padding": p}),
    3: lambda i, k, s, p, d: (i, {"padding": "same"}),
    4: lambda i, k, s, p, d: (i + k - 1, {"padding": "full"}),
    5: lambda i, k, s, p, d: ((i - k) // s + 1, {"padding": "valid", "stride": s}),
    6: lambda i, k, s, p, d: ((i + 2 * p - k) // s + 1, {"padding": p, "stride": s}),
    15: lambda i, k, s, p, d: (
        (i + 2 * p - k - (k - 1) * (d - 1)) // s + 1,
        {"padding": p, "stride": s, "dilation": d},
    ),
}
TRANSPOSED = {
    8: lambda i, k, s, p, a: (i + k - 1, {"padding": "valid"}),
    9: lambda i, k, s, p, a: (i + k - 1 - 2 * p, {"padding": p}),
    10: lambda i, k, s, p, a: (i, {"padding": "same"}),
    11: lambda i, k, s, p, a: (i - (k - 1), {"padding": "full"}),
    12: lambda i, k, s, p, a: (s * (i - 1) + k, {"padding": "valid", "stride": s}),
    13: lambda i, k, s, p, a: (s * (i - 1) + k - 2 * p, {"padding": p, "stride": s}),
    14: lambda i, k, s, p, a: (s * (i - 1) + a + k - 2 * p, {"padding": p, "stride": s}),
}
ARITHMETIC = {"k": st.integers(1, 6), "s": st.integers(1, 4), "p": st.integers(0, 5)}


class TestRelationsOfDumoulinAndVisin:
    """All fifteen, by the formula and by the shapes that come out.

    Input i, window k, stride s, padding p on each side, dilation d, and a = (i + 2p − k) mod s rows left unread. In the
    relations of the transposed convolution i stands for the size of what it is given, i' in the text.
    """

    @given(**ARITHMETIC, d=st.integers(1, 3), beyond=st.integers(0, 9))
    @drawn_cases(25)
    @pytest.mark.parametrize("number", FORWARD)
    def test_forward(self, number, k, s, p, d, beyond):
        i = (k - 1) * d + 1 + beyond
        expected, options = FORWARD[number](i, k, s, p, d)
        assert ops.output_size(i, k, **options) == expected
        assert self.conv_shape(i, k, **options) == (expected, expected)

    def conv_shape(self, i, k, **options):
        x, kernel = jax.ShapeDtypeStruct((1, i, i, 1), jnp.float32), jax.ShapeDtypeStruct((k, k, 1, 1), jnp.float32)
        return jax.eval_shape(lambda x, kernel: ops.conv(x, kernel, **options), x, kernel).shape[1:-1]

    @given(i=st.integers(1, 12), half=st.integers(0, 3))
    @drawn_cases(10)
    def test_3_half_padding_of_an_odd_window_by_any_name(self, i, half):
        k = 2 * half + 1
        for padding in (half, ((half, half),), "same", "circular", "same_xla", *(["reflect"] if half < i else [])):
            assert ops.output_size(i, k, padding=padding) == i

    @given(k=st.integers(1, 4), s=st.integers(1, 4), beyond=st.integers(0, 9))
    @drawn_cases(10)
    @pytest.mark.parametrize("pool", [ops.max_pool, ops.avg_pool])
    def test_7_pooling(self, pool, k, s, beyond):
        i = k + beyond
        o = (i - k) // s + 1
        x = jax.ShapeDtypeStruct((1, i, i, 1), jnp.float32)
        assert jax.eval_shape(lambda x: pool(x, k, stride=s), x).shape == (1, o, o, 1)

    @given(**ARITHMETIC, a=st.integers(0, 3), i=st.integers(1, 12))
    @drawn_cases(25)
    @pytest.mark.parametrize("number", TRANSPOSED)
    def test_transposed(self, number, k, s, p, a, i):
        o, options = TRANSPOSED[number](i, k, s, p, a % s)
        assume(o > 0)
        assert ops.output_size(o, k, **options) == i
        assert self.transposed_shape(i, k, o, **options) == (o, o)

    def transposed_shape(self, i, k, o, **options):
        y, kernel = jax.ShapeDtypeStruct((1, i, i, 1), jnp.float32), jax.ShapeDtypeStruct((k, k, 1, 1), jnp.float32)
        transposed = jax.eval_shape(lambda y, w: ops.conv_transpose(y, w, input_size=o, **options), y, kernel)
        return transposed.shape[1:-1]

    @given(**ARITHMETIC, beyond=st.integers(0, 12))
    @drawn_cases(25)
    def test_14_after_6_gives_back_the_input_size_and_no_other_remainder_does(self, k, s, p, beyond):
        i = max(1, k - 2 * p) + beyond
        o, options = FORWARD[6](i, k, s, p, 1)
        a = (i + 2 * p - k) % s
        assert TRANSPOSED[14](o, k, s, p, a)[0] == i
        assert self.transposed_shape(o, k, i, **options) == (i, i)
        with pytest.raises(InputError, match=rf"y has spatial size \({o}, {o}\), but conv makes \({o + 1}, "):
            self.transposed_shape(o, k, i - a + s, **options)

    @given(rank=st.integers(1, 2), k=st.integers(1, 4), s=st.integers(1, 3), a=st.integers(0, 2), i=st.integers(2, 4))
    @drawn_cases(6)
    def test_14_is_a_convolution_of_the_stretched_map(self, rank, k, s, a, i):
        """With s − 1 zeros between the inputs, a more at the end, k' = k, s' = 1 and p' = k − p − 1 (section 4.6)."""
        p, a = (k - 1) // 2, a % s
        o, options = TRANSPOSED[14](i, k, s, p, a)
        y, kernel = integers((2, *(i,) * rank, 3)), integers((*(k,) * rank, 2, 3), 1)
        step = (slice(None), *(slice(None, None, s),) * rank)
        stretched = np.zeros((2, *(s * (i - 1) + 1,) * rank, 3))
        stretched[step] = y
        expected = numpy_loops.conv(
            stretched,
            np.flip(kernel, range(rank)).swapaxes(-1, -2),
            stride=(1,) * rank,
            dilation=(1,) * rank,
            padding=((k - p - 1, k - p - 1 + a),) * rank,
            groups=1,
        )
        found = jax.jit(lambda y, w: ops.conv_transpose(y, w, input_size=o, **options))(y, kernel)
        np.testing.assert_array_equal(found, expected)


def test_relation_6_leaves_the_last_rows_unread():
    n, k, s, p = 10, 3, 4, 1
    left_over = (n + 2 * p - k) % s
    assert left_over == 1

    def reads(k, **options):
        gradient = jax.grad(lambda x: ops.conv(x, jnp.ones((k, 1, 1)), **options).sum())
        return np.ravel(jax.jit(gradient)(np.ones((1, n, 1), np.float32)))

    # One row of padding is all that is left over here; with stride 3 the data itself goes unread.
    np.testing.assert_array_equal(reads(k, stride=s, padding=p)[-2:], [1, 1])
    assert (n - 2) % 3 == 2
    np.testing.assert_array_equal(reads(2, stride=3, padding="valid"), [1, 1, 0, 1, 1, 0, 1, 1, 0, 0])


@given(data=st.data())
@drawn_cases(2)
@pytest.mark.parametrize("op", [ops.conv, ops.convolve])
@pytest.mark.parametrize(("padding", "dtype"), repeated(PADDINGS_AND_DTYPES, quick=4))
def test_linear_in_the_input_and_in_the_kernel(padding, dtype, op, data):
    case = data.draw(cases(padding))

    @jax.jit
    def sides(x, y, w, v, a):
        def f(x, w):
            return op(x, w, **case.options)

        together = f(a * x, w), f(x, a * w), f(x + y, w), f(x, w + v)
        return together, (a * f(x, w), a * f(x, w), f(x, w) + f(y, w), f(x, w) + f(x, v))

    with jax.enable_x64(dtype == np.float64):
        x, y = normal(case.x_shape, 0, dtype), normal(case.x_shape, 1, dtype)
        w, v = normal(case.kernel_shape, 2, dtype), normal(case.kernel_shape, 3, dtype)
        for actual, expected in zip(*sides(x, y, w, v, jnp.asarray(-2.7, dtype)), strict=True):
            assert_close(actual, expected, dtype)


def full(a, b, op=ops.convolve):
    return op(a[None, ..., None], b[..., None, None], padding="full")[0, ..., 0]


sizes = st.integers(1, 2).flatmap(lambda rank: st.tuples(*[st.tuples(*[st.integers(1, 6)] * rank)] * 3))


class TestAlgebraOfFullConvolution:
    """Commutative and associative, with the impulse as its one; cross-correlation is neither."""

    @given(sizes=sizes, dtype=float_types)
    @drawn_cases(10)
    def test_commutative_associative_with_one(self, sizes, dtype):
        with jax.enable_x64(dtype == np.float64):
            a, b, c = (normal(size, seed, dtype) for seed, size in enumerate(sizes))

            @jax.jit
            def products(a, b, c):
                ab, one = full(a, b), jnp.ones((1,) * a.ndim, a.dtype)
                return ab, full(b, a), full(ab, c), full(a, full(b, c)), full(a, one)

            ab, ba, left, right, same = products(a, b, c)
            assert_close(ab, ba, dtype)
            assert_close(left, right, dtype)
            assert_close(same, a, dtype)
            reference = scipy.signal.convolve(np.asarray(a), np.asarray(b), mode="full", method="direct")
            assert_close(ab, reference, dtype)

    def test_exactly_so_on_integers(self):
        a, b, c = integers((5, 6)), integers((4, 2), 1), integers((3, 3), 2)
        ab, ba, left, right = jax.jit(
            lambda a, b, c: (full(a, b), full(b, a), full(full(a, b), c), full(a, full(b, c)))
        )(a, b, c)
        np.testing.assert_array_equal(ab, ba)
        np.testing.assert_array_equal(left, right)

    def test_cross_correlation_does_not_commute_but_flips(self):
        a, b = integers((5, 4)), integers((5, 4), 1)
        ab, ba = map(np.asarray, jax.jit(lambda a, b: (full(a, b, ops.conv), full(b, a, ops.conv)))(a, b))
        np.testing.assert_array_equal(ab, ba[::-1, ::-1])
        assert not np.array_equal(ab, ba)

    def test_cross_correlation_is_not_associative(self):
        a, b, c = integers((5,)), integers((4,), 1), integers((3,), 2)

        @jax.jit
        def both(a, b, c):
            return full(full(a, b, ops.conv), c, ops.conv), full(a, full(b, c, ops.conv), ops.conv)

        left, right = both(a, b, c)
        assert left.shape == right.shape
        assert not np.array_equal(left, right)


def every_shift(size, step):
    """All shifts of a map by multiples of the step, and the same in steps."""
    return [
        (tuple(s * m for s, m in zip(step, by, strict=True)), by)
        for by in np.ndindex(*(n // s for n, s in zip(size, step, strict=True)))
    ]


class TestTranslation:
    @given(data=st.data(), dtype=float_types)
    @drawn_cases(6)
    def test_circular_padding_makes_it_equivariant_to_every_multiple_of_the_stride(self, data, dtype):
        rank = data.draw(st.integers(1, 2))
        stride = data.draw(st.tuples(*[st.integers(1, 3)] * rank))
        window, dilation = (data.draw(st.tuples(*[st.integers(1, top)] * rank)) for top in (5, 2))
        # The map must be as many strides long, or the last step around it is shorter than the others.
        size = tuple(s * data.draw(st.integers(1, 3)) for s in stride)
        axes = tuple(range(1, rank + 1))
        shifts = every_shift(size, stride)
        with jax.enable_x64(dtype == np.float64):
            x, kernel = normal((1, *size, 2), dtype=dtype), normal((*window, 2, 3), 1, dtype)
            moved = np.concatenate([np.roll(x, by, axes) for by, _ in shifts])
            conv = jax.jit(lambda x: ops.conv(x, kernel, stride=stride, dilation=dilation, padding="circular"))
            features = np.asarray(conv(moved))
        assert_close(features, np.concatenate([np.roll(features[:1], by, axes) for _, by in shifts]), dtype)

    @pytest.mark.parametrize("window", [(3, 3), (2, 5)])
    def test_every_integer_shift_exactly_with_stride_1(self, window):
        x, kernel = integers((1, 6, 7, 2)), integers((*window, 2, 3), 1)
        shifts = [by for by, _ in every_shift((6, 7), (1, 1))]
        moved = np.concatenate([np.roll(x, by, (1, 2)) for by in shifts])
        features = np.asarray(jax.jit(lambda x: ops.conv(x, kernel, padding="circular"))(moved))
        np.testing.assert_array_equal(features, np.concatenate([np.roll(features[:1], by, (1, 2)) for by in shifts]))

    def test_zero_padding_breaks_it_at_the_border_and_only_there(self):
        x, kernel = integers((1, 8, 8, 1)), integers((3, 3, 1, 1), 1)
        conv = jax.jit(lambda x: ops.conv(x, kernel))
        moved = np.asarray(conv(np.roll(x, 1, axis=2)))
        still = np.roll(conv(x), 1, axis=2)
        np.testing.assert_array_equal(moved[:, 1:-1, 2:-1], still[:, 1:-1, 2:-1])
        assert not np.array_equal(moved, still)

    def test_a_shift_by_less_than_the_stride_is_not_a_shift_of_the_features(self):
        x, kernel = integers((1, 8, 1)), integers((3, 1, 1), 1)
        conv = jax.jit(lambda x: ops.conv(x, kernel, stride=2, padding="circular"))
        still, moved = conv(x), conv(np.roll(x, 1, axis=1))
        assert not any(np.array_equal(moved, np.roll(still, by, axis=1)) for by in range(4))

    @given(
        strides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
        windows=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        rows=st.integers(0, 2),
        columns=st.integers(0, 2),
    )
    @drawn_cases(6)
    def test_features_of_two_crops_agree_bit_for_bit_where_both_see_them(self, strides, windows, rows, columns):
        # In small integers no sum is rounded, so that the order of its terms cannot hide or make a difference.
        x = np.asarray(integers((1, 30, 30, 2)))
        first, second = (integers((k, k, c, o), 1) for k, c, o in zip(windows, (2, 3), (3, 2), strict=True))

        @jax.jit
        def features(x):
            hidden = jax.nn.relu(ops.conv(x, first, stride=strides[0], padding="valid"))
            return ops.conv(hidden, second, stride=strides[1], padding="valid")

        step = strides[0] * strides[1]
        here, there = map(
            np.asarray, (features(x[:, :21, :21]), features(x[:, rows * step :, columns * step :][:, :21, :21]))
        )
        n = here.shape[1]
        np.testing.assert_array_equal(here[:, rows:, columns:], there[:, : n - rows, : n - columns])
        assert min(n - rows, n - columns) > 0
