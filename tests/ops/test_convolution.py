import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cnnjax import InputError, ops
from tests.drawn_cases import drawn_cases
from tests.gradients import check_gradients
from tests.repeats import repeated


def draw(shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def integers(shape, seed=0):
    """Small integers as floats: sums of their products are exact in any order."""
    return jnp.asarray(np.random.default_rng(seed).integers(-4, 5, size=shape), jnp.float32)


@given(
    case=st.sampled_from([((2, 9, 4), (3, 1)), ((1, 7, 6, 2), (2, 3)), ((2, 6, 8, 4), (3, 2)), ((1, 8, 4), (4, 1))]),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2]),
)
@drawn_cases(4)
@pytest.mark.parametrize("padding", ["valid", "same", "full", "circular", "reflect", "same_xla", 1, "pairs"])
def test_conv_against_loops(case, stride, dilation, padding, groups):
    shape, size = case
    rank = len(shape) - 2
    size, stride, dilation = size[:rank], stride[:rank], dilation[:rank]
    padding = ((2, 0), (1, 3))[:rank] if padding == "pairs" else padding
    spans = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    assume(padding not in ("valid", 1) or all(span <= n for span, n in zip(spans, shape[1:-1], strict=True)))
    x, kernel = draw(shape), draw((*size, shape[-1] // groups, 6), seed=1)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    expected = numpy_loops.conv(np.asarray(x), np.asarray(kernel), **options)
    flipped = np.flip(kernel, tuple(range(rank)))

    @jax.jit
    def both(x, kernel, flipped):
        return ops.conv(x, kernel, **options), ops.convolve(x, flipped, **options)

    for y in both(x, kernel, flipped):
        np.testing.assert_allclose(y, expected, atol=2e-5)


@pytest.mark.parametrize("padding", ["full", "reflect"])
def test_eager_is_jitted(padding):
    x, kernel = draw((2, 6, 8, 4)), draw((3, 2, 2, 6), seed=1)
    options = {"stride": (2, 1), "padding": padding, "dilation": (1, 2), "groups": 2}
    jitted = jax.jit(lambda x, w: ops.conv(x, w, **options))(x, kernel)
    np.testing.assert_allclose(ops.conv(x, kernel, **options), jitted, atol=2e-5)


def test_an_int_means_every_axis():
    @jax.jit
    def both(x, kernel):
        one = ops.conv(x, kernel, stride=2, dilation=2, padding=1)
        return one, ops.conv(x, kernel, stride=(2, 2), dilation=(2, 2), padding=((1, 1), (1, 1)))

    one, each = both(draw((1, 9, 9, 2)), draw((3, 3, 2, 2), seed=1))
    np.testing.assert_array_equal(one, each)


@pytest.mark.parametrize(
    "padding", repeated(["full", "circular", "reflect", (((0, 2), (1, 0)),), "valid", "same_xla"], quick=3)
)
def test_gradients_forward_and_reverse(padding):
    op = ops.convolve if padding == "full" else ops.conv
    with jax.enable_x64(True):
        x, kernel = draw((2, 5, 6, 2), dtype=np.float64), draw((3, 2, 1, 4), seed=1, dtype=np.float64)
        options = {"padding": padding, "stride": (2, 1), "dilation": (1, 2), "groups": 2}
        check_gradients(jax.jit(lambda x, w: op(x, w, **options)), (x, kernel))


def test_leading_axes_come_through_vmap():
    x, kernels = draw((3, 2, 6, 6, 1)), draw((3, 3, 3, 1, 2), seed=1)
    together = jax.jit(jax.vmap(ops.conv))(x, kernels)
    apart = map(jax.jit(ops.conv), np.asarray(x), np.asarray(kernels))
    np.testing.assert_allclose(together, np.stack(list(apart)), atol=1e-5)


def test_bfloat16_rounds_the_float32_result():
    x, kernel = draw((2, 8, 8, 4), dtype=jnp.bfloat16), draw((3, 3, 4, 5), seed=1, dtype=jnp.bfloat16)
    half = jax.jit(lambda x, w: ops.conv(x, w, padding="circular"))(x, kernel)
    exact = np.asarray(jax.jit(ops.conv)(np.asarray(x, np.float32), np.asarray(kernel, np.float32)))
    assert half.dtype == jnp.bfloat16
    inner = np.s_[:, 1:-1, 1:-1]
    np.testing.assert_allclose(np.asarray(half, np.float32)[inner], exact[inner], rtol=2**-7, atol=2**-5)


class TestSameAgainstXlasRule:
    delta = np.asarray([0, 1, 0], np.float32).reshape(3, 1, 1)

    @pytest.mark.parametrize("n", [8, 9])
    def test_same_samples_from_the_first_pixel_on_any_map(self, n):
        x = np.arange(n, dtype=np.float32).reshape(1, n, 1)
        y = jax.jit(lambda x, w: ops.conv(x, w, stride=2))(x, self.delta)
        np.testing.assert_array_equal(np.ravel(y), np.arange(0, n, 2))

    @pytest.mark.parametrize(("n", "first"), [(8, 1), (9, 0)])
    def test_same_xla_samples_from_another_pixel_on_even_maps(self, n, first):
        x = np.arange(n, dtype=np.float32).reshape(1, n, 1)
        y = jax.jit(lambda x, w: ops.conv(x, w, stride=2, padding="same_xla"))(x, self.delta)
        np.testing.assert_array_equal(np.ravel(y), np.arange(first, n, 2))

    @pytest.mark.parametrize(("k", "s", "d"), [(3, 2, 1), (2, 2, 1), (4, 3, 1), (3, 1, 2), (1, 3, 1), (5, 2, 2)])
    def test_same_xla_is_what_xla_does(self, k, s, d):
        @jax.jit
        def both(x, kernel):
            theirs = jax.lax.conv_general_dilated(
                x, kernel, (s,), "SAME", rhs_dilation=(d,), dimension_numbers=("NWC", "WIO", "NWC")
            )
            return ops.conv(x, kernel, stride=s, dilation=d, padding="same_xla"), theirs

        for n in range(5, 10):
            np.testing.assert_array_equal(*both(integers((1, n, 1)), integers((k, 1, 1), 1)))


@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        ((1, 6, 6, 3), (3, 3, 2, 4), {}, r"x has 3 channels, but kernel of shape \(3, 3, 2, 4\) reads 2 .* 2 in all"),
        ((1, 6, 6, 4), (3, 3, 4, 4), {"groups": 2}, r"x has 4 channels, .* reads 4 in each of groups=2, 8 in all: x's"),
        ((1, 6, 6, 3), (3, 3, 1, 4), {"groups": 2}, r"x has 3 channels, .* reads 1 in each of groups=2, 2 in all: x's"),
        ((1, 6, 6, 4), (3, 3, 2, 3), {"groups": 2}, r"groups=2 must be a positive int that divides kernel's 3 outputs"),
        ((1, 6, 6, 4), (3, 3, 4, 3), {"groups": 0}, r"groups=0 must be a positive int that divides"),
        ((1, 6, 6, 3), (3, 3, 4), {}, r"kernel has shape \(3, 3, 4\); .* an image \(height, width, in, out\)"),
        ((1, 6, 3), (3, 3, 3, 4), {}, r"kernel has shape \(3, 3, 3, 4\); a signal needs \(length, in, out\)"),
        ((6, 3), (3, 3, 4), {}, r"x has shape \(6, 3\); expected \(batch, length, channels\)"),
        ((1, 0, 6, 3), (3, 3, 3, 4), {}, r"x has shape \(1, 0, 6, 3\); every spatial axis must have at least one"),
        ((1, 6, 6, 3), (3, 0, 3, 4), {}, r"kernel has shape \(3, 0, 3, 4\), so no weights"),
        ((1, 6, 6, 0), (3, 3, 0, 4), {}, r"kernel has shape \(3, 3, 0, 4\), so no weights"),
        ((1, 6, 6, 3), (7, 3, 3, 4), {"padding": "valid"}, r"the window spans 7 positions, more than the 6"),
        ((1, 6, 6, 3), (3, 3, 3, 4), {"padding": "SAME"}, r"padding='SAME' is unknown; use one of valid, same, full"),
        ((1, 6, 6, 3), (3, 3, 3, 4), {"stride": 0}, r"stride=0 must be a positive int"),
        ((1, 6, 6, 3), (3, 3, 3, 4), {"dilation": (1, 2, 3)}, r"dilation=\(1, 2, 3\) must be"),
    ],
)
def test_errors_name_the_value_and_the_remedy(x, kernel, options, message):
    for op in (ops.conv, ops.convolve):
        with pytest.raises(InputError, match=message):
            op(jnp.ones(x), jnp.ones(kernel), **options)


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 1.5}, r"groups=1.5 must be a positive int"),
        ({"groups": True}, r"groups=True must be a positive int"),
        ({"stride": 1.5}, r"stride=1.5 must be a positive int, or 2 of them"),
        ({"stride": (True, 2)}, r"stride=\(True, 2\) must be a positive int, or 2 of them"),
        ({"dilation": "2"}, r"dilation='2' must be a positive int, or 2 of them"),
        ({"dilation": None}, r"dilation=None must be a positive int, or 2 of them"),
        ({"stride": np.array([1, 2, 3])}, r"stride=.* must be a positive int, or 2 of them"),
    ],
)
def test_what_is_no_integer_is_refused_without_type_checks_too(options, message):
    with pytest.raises(InputError, match=message):
        ops.conv(jnp.ones((1, 6, 6, 2)), jnp.ones((3, 3, 2, 2)), **options)


@pytest.mark.usefixtures("without_type_checks")
def test_an_array_gives_one_number_for_each_axis():
    x, kernel = draw((2, 8, 6, 4)), draw((3, 3, 4, 2), seed=1)
    got = ops.conv(x, kernel, stride=np.array([1, 2]), padding=np.array([[0, 1], [2, 1]]))
    np.testing.assert_array_equal(got, ops.conv(x, kernel, stride=(1, 2), padding=((0, 1), (2, 1))))


@pytest.mark.usefixtures("without_type_checks")
def test_a_traced_stride_is_refused():
    x, kernel = jnp.ones((1, 6, 2)), jnp.ones((3, 2, 2))
    with pytest.raises(InputError, match=r"stride=.*Tracer.* must be a positive int"):
        jax.jit(lambda stride: ops.conv(x, kernel, stride=stride))(2)


@pytest.mark.usefixtures("without_type_checks")
def test_numpys_integers_are_integers():
    x, kernel = draw((2, 8, 6, 4)), draw((3, 3, 2, 4), seed=1)
    names = {"stride": np.int64(2), "dilation": (np.int32(1), np.uint8(2)), "groups": np.int64(2)}
    same = {"stride": 2, "dilation": (1, 2), "groups": 2}
    for given_padding, padding in [(np.int64(3), 3), (((np.int64(1), np.int8(2)), (0, np.int64(3))), ((1, 2), (0, 3)))]:

        def result(x, w, **options):
            y, pull = jax.vjp(lambda x, w: ops.conv(x, w, **options), x, w)
            return y, pull(y)

        got = jax.jit(functools.partial(result, padding=given_padding, **names))(x, kernel)
        expected = jax.jit(functools.partial(result, padding=padding, **same))(x, kernel)
        jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_an_empty_batch_is_a_batch():
    assert ops.conv(jnp.ones((0, 6, 6, 2)), jnp.ones((3, 3, 2, 5))).shape == (0, 6, 6, 5)


@pytest.mark.parametrize(("x", "kernel"), [("uint8", "float32"), ("float32", "bfloat16")])
def test_dtypes_are_not_mixed(x, kernel):
    with pytest.raises(InputError, match=f"x is {x} and kernel is {kernel}; conv needs one floating-point dtype"):
        ops.conv(jnp.ones((1, 4, 1), x), jnp.ones((3, 1, 1), kernel))


def test_integer_kernels_are_refused():
    with pytest.raises(InputError, match=r"kernel is int32; convolution needs a floating-point dtype"):
        ops.conv(jnp.ones((1, 4, 1), "int32"), jnp.ones((3, 1, 1), "int32"))
