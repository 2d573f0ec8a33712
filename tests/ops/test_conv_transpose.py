import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
from conv_cases import PADDINGS_AND_DTYPES, assert_close, cases, integers, normal
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import InputError, ops
from tests.drawn_cases import drawn_cases
from tests.gradients import check_gradients
from tests.repeats import repeated

STATIC = ("input_size", "stride", "padding", "dilation", "groups")
jitted = jax.jit(ops.conv_transpose, static_argnames=STATIC)


@given(data=st.data())
@drawn_cases(3)
@pytest.mark.parametrize(("padding", "dtype"), repeated(PADDINGS_AND_DTYPES, quick=4))
def test_it_is_the_adjoint_of_conv(padding, dtype, data):
    case = data.draw(cases(padding))
    with jax.enable_x64(dtype == np.float64):
        x, kernel = normal(case.x_shape, dtype=dtype), normal(case.kernel_shape, 1, dtype)
        matrix = numpy_loops.matrix(np.asarray(kernel), case.input_size, **case.options)
        y = normal(jax.eval_shape(lambda x: ops.conv(x, kernel, **case.options), x).shape, 2, dtype)

        @jax.jit
        def both(x, y, kernel):
            back = ops.conv_transpose(y, kernel, input_size=case.input_size, **case.options)
            return back, jnp.vdot(ops.conv(x, kernel, **case.options), y), jnp.vdot(x, back)

        back, forward_product, back_product = both(x, y, kernel)
        expected = (np.asarray(y, np.float64).reshape(2, -1) @ matrix).reshape(x.shape)
        assert_close(back, expected, dtype)
        norms = np.linalg.norm(matrix, 2) * np.linalg.norm(x) * np.linalg.norm(y)
        assert abs(forward_product - back_product) <= {np.float32: 1e-6, np.float64: 1e-13}[dtype] * norms


@pytest.mark.parametrize(
    ("input_size", "window", "stride", "padding"),
    repeated(
        [
            ((7, 6), (3, 2), (4, 2), ((1, 1), (1, 1))),
            ((4, 6), (5, 2), (3, 2), ((2, 2), (1, 1))),
            ((6, 3), (2, 5), (2, 1), ((1, 1), (2, 2))),
        ]
    ),
)
def test_a_gapped_axis_beside_a_window_that_exceeds_the_map(input_size, window, stride, padding):
    """XLA ended the process here, in the transpose and in the gradient alike."""
    kernel, x = integers((*window, 2, 3)), integers((2, *input_size, 2), 1)
    options = {"stride": stride, "padding": padding}
    forward = functools.partial(ops.conv, **options)
    back = functools.partial(ops.conv_transpose, input_size=input_size, **options)
    transposed = jax.jit(lambda x, kernel: back(forward(x, kernel), kernel))(x, kernel)
    gradient = jax.jit(jax.grad(lambda x, kernel: (forward(x, kernel) ** 2).sum() / 2))(x, kernel)
    matrix = numpy_loops.matrix(np.asarray(kernel), input_size, dilation=(1, 1), groups=1, **options)
    expected = (np.asarray(x).reshape(2, -1) @ matrix.T @ matrix).reshape(x.shape)
    np.testing.assert_array_equal(transposed, expected)
    np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize(("padding", "groups"), [("valid", 1), ("circular", 2), ("reflect", 1)])
def test_gradients_forward_and_reverse(padding, groups):
    options = {"input_size": (7, 6), "padding": padding, "stride": (2, 1), "dilation": (1, 2), "groups": groups}
    with jax.enable_x64(True):
        rows, columns = {"valid": (3, 4)}.get(padding, (4, 6))
        y, kernel = normal((2, rows, columns, 4), 2, np.float64), normal((3, 2, 1, 4), 1, np.float64)
        check_gradients(functools.partial(jitted, **options), (y, kernel))


def test_eager_is_jitted():
    options = {"input_size": (7, 6), "padding": "reflect", "stride": (2, 1), "dilation": (1, 2), "groups": 2}
    with jax.enable_x64(True):
        y, kernel = normal((2, 4, 6, 4), 2, np.float64), normal((3, 2, 1, 4), 1, np.float64)
        eager = ops.conv_transpose(y, kernel, **options)
        np.testing.assert_allclose(eager, jitted(y, kernel, **options), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("input_size", "unread"), [(7, 0), (8, 1), (9, 2)])
def test_input_size_says_which_of_the_maps_with_one_size_of_output_is_meant(input_size, unread):
    y, kernel = np.ones((1, 2, 1), np.float32), np.arange(1, 5, dtype=np.float32).reshape(4, 1, 1)
    x = jitted(y, kernel, input_size=input_size, stride=3, padding="valid")
    np.testing.assert_array_equal(np.ravel(x), [1, 2, 3, 4 + 1, 2, 3, 4] + [0] * unread)


def test_a_circular_border_folds_back_and_a_reflected_one_too():
    y, kernel = (
        np.asarray(a, np.float32).reshape(shape) for a, shape in (([1, 0, 0, 0], (1, 4, 1)), ([1, 2, 4], (3, 1, 1)))
    )
    for padding, expected in (("same", [2, 4, 0, 0]), ("circular", [2, 4, 0, 1]), ("reflect", [2, 5, 0, 0])):
        np.testing.assert_array_equal(np.ravel(jitted(y, kernel, input_size=4, padding=padding)), expected)


def test_leading_axes_come_through_vmap():
    y, kernels = normal((3, 2, 3, 3, 2)), normal((3, 3, 3, 1, 2), 1)

    transposed = functools.partial(jitted, input_size=6, stride=2, padding="circular")
    together = jax.jit(jax.vmap(transposed))(y, kernels)
    apart = [transposed(a, w) for a, w in zip(np.asarray(y), np.asarray(kernels), strict=True)]
    np.testing.assert_allclose(together, np.stack(apart), atol=1e-5)


@pytest.mark.parametrize("padding", ["same", "circular"])
def test_bfloat16_rounds_the_float32_result(padding):
    y, kernel = normal((2, 8, 8, 16), dtype=jnp.bfloat16), normal((3, 3, 2, 16), 1, jnp.bfloat16)
    half = jitted(y, kernel, input_size=8, padding=padding)
    wide = (np.asarray(a, np.float32) for a in (y, kernel))
    exact = np.asarray(jitted(*wide, input_size=8, padding=padding))
    assert half.dtype == jnp.bfloat16
    # Half a unit in the last of 8 bits; where a border is folded back, of each of the up to four terms.
    slack = 0 if padding == "same" else np.abs(exact).max() * 2**-8
    assert (np.abs(np.asarray(half, np.float32) - exact) <= np.abs(exact) * 2**-8 + 1e-5 + slack).all()


@pytest.mark.usefixtures("without_type_checks")
def test_sizes_may_be_numpys_integers():
    y, kernel = normal((1, 3, 4)), normal((3, 2, 4), 1)
    expected = jitted(y, kernel, input_size=6, stride=2, groups=2)
    got = jax.jit(lambda *a: ops.conv_transpose(*a, input_size=np.int64(6), stride=np.int32(2), groups=np.int64(2)))(
        y, kernel
    )
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("y", "kernel", "options", "message"),
    [
        (
            (1, 4, 4, 3),
            (3, 3, 2, 3),
            {},
            r"y has spatial size \(4, 4\), but conv makes \(6, 6\) of input_size=\(6, 6\)",
        ),
        ((1, 3, 4, 3), (3, 3, 2, 3), {"stride": 2}, r"conv makes \(3, 3\) of input_size=\(6, 6\) with stride=2"),
        ((1, 6, 6, 2), (3, 3, 2, 3), {}, r"y has 2 channels, but conv with a kernel of shape \(3, 3, 2, 3\) gives 3"),
        ((1, 6, 3), (3, 3, 2, 3), {}, r"kernel has shape \(3, 3, 2, 3\); a signal needs \(length, in, out\)"),
        ((6, 6), (3, 3, 2, 3), {}, r"y has shape \(6, 6\); expected .* Add a batch axis with y\[None\]"),
        ((1, 0, 6, 3), (3, 3, 2, 3), {}, r"y has shape \(1, 0, 6, 3\); every spatial axis must have at least one"),
        ((1, 6, 6, 3), (3, 3, 2, 3), {"groups": 2}, r"groups=2 must be a positive int that divides kernel's 3 outputs"),
        ((1, 6, 6, 3), (3, 3, 2, 3), {"input_size": (6, 0)}, r"input_size=\(6, 0\) must be a positive int, or 2"),
        ((1, 6, 6, 3), (7, 3, 2, 3), {"padding": "valid"}, r"the window spans 7 positions, more than the 6"),
    ],
)
def test_errors_name_the_value_and_the_remedy(y, kernel, options, message):
    with pytest.raises(InputError, match=message):
        ops.conv_transpose(jnp.ones(y), jnp.ones(kernel), **{"input_size": 6, **options})


def test_dtypes_are_not_mixed():
    with pytest.raises(InputError, match="y is bfloat16 and kernel is float32; convert one of them"):
        ops.conv_transpose(jnp.ones((1, 4, 1), jnp.bfloat16), jnp.ones((3, 1, 1)), input_size=4)
