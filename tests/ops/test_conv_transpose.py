import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
from conv_cases import PADDINGS, assert_close, cases, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from cnnjax import InputError, ops


@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
@settings(deadline=None, max_examples=6)
@pytest.mark.parametrize("padding", PADDINGS)
def test_it_is_the_adjoint_of_conv(padding, data, dtype):
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


@pytest.mark.parametrize("padding", ["valid", "circular", "reflect"])
def test_gradients_forward_and_reverse_eager_and_jitted(padding):
    def transposed(y, kernel):
        return ops.conv_transpose(
            y, kernel, input_size=(7, 6), padding=padding, stride=(2, 1), dilation=(1, 2), groups=2
        )

    with jax.enable_x64(True):
        rows, columns = {"valid": (3, 4)}.get(padding, (4, 6))
        y, kernel = normal((2, rows, columns, 4), 2, np.float64), normal((3, 2, 1, 4), 1, np.float64)
        check_grads(jax.jit(transposed), (y, kernel), order=1, modes=("fwd", "rev"))
        np.testing.assert_allclose(transposed(y, kernel), jax.jit(transposed)(y, kernel), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("input_size", "unread"), [(7, 0), (8, 1), (9, 2)])
def test_input_size_says_which_of_the_maps_with_one_size_of_output_is_meant(input_size, unread):
    y, kernel = jnp.ones((1, 2, 1)), jnp.asarray([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1)
    x = ops.conv_transpose(y, kernel, input_size=input_size, stride=3, padding="valid")
    np.testing.assert_array_equal(x.ravel(), [1, 2, 3, 4 + 1, 2, 3, 4] + [0] * unread)


def test_a_circular_border_folds_back_and_a_reflected_one_too():
    y, kernel = jnp.asarray([1.0, 0, 0, 0]).reshape(1, 4, 1), jnp.asarray([1.0, 2.0, 4.0]).reshape(3, 1, 1)
    for padding, expected in (("same", [2, 4, 0, 0]), ("circular", [2, 4, 0, 1]), ("reflect", [2, 5, 0, 0])):
        np.testing.assert_array_equal(ops.conv_transpose(y, kernel, input_size=4, padding=padding).ravel(), expected)


def test_leading_axes_come_through_vmap():
    y, kernels = normal((3, 2, 3, 3, 2)), normal((3, 3, 3, 1, 2), 1)

    def transposed(y, kernel):
        return ops.conv_transpose(y, kernel, input_size=6, stride=2, padding="circular")

    together = jax.vmap(transposed)(y, kernels)
    np.testing.assert_allclose(together, np.stack(list(map(transposed, y, kernels))), atol=1e-5)


@pytest.mark.parametrize("padding", ["same", "circular"])
def test_bfloat16_rounds_the_float32_result(padding):
    y, kernel = normal((2, 8, 8, 16)).astype(jnp.bfloat16), normal((3, 3, 2, 16), 1).astype(jnp.bfloat16)
    half = ops.conv_transpose(y, kernel, input_size=8, padding=padding)
    wide = (a.astype(jnp.float32) for a in (y, kernel))
    exact = ops.conv_transpose(*wide, input_size=8, padding=padding)
    assert half.dtype == jnp.bfloat16
    # Half a unit in the last of 8 bits; where a border is folded back, of each of the up to four terms.
    slack = 0 if padding == "same" else float(jnp.abs(exact).max()) * 2**-8
    assert (np.abs(half.astype(jnp.float32) - exact) <= np.abs(exact) * 2**-8 + 1e-5 + slack).all()


@pytest.mark.usefixtures("without_type_checks")
def test_sizes_may_be_numpys_integers():
    y, kernel = normal((1, 3, 4)), normal((3, 2, 4), 1)
    expected = ops.conv_transpose(y, kernel, input_size=6, stride=2, groups=2)
    got = ops.conv_transpose(y, kernel, input_size=np.int64(6), stride=np.int32(2), groups=np.int64(2))
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
