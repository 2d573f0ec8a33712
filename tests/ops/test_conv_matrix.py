import jax
import jax.numpy as jnp
import numpy as np
import numpy_loops
import pytest
import scipy.linalg
from conv_cases import PADDINGS, PADDINGS_AND_DTYPES, assert_close, cases, integers, normal
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import InputError, ops
from tests.drawn_cases import drawn_cases
from tests.gradients import check_gradients
from tests.repeats import repeated


@given(data=st.data())
@drawn_cases(4)
@pytest.mark.parametrize("padding", PADDINGS)
def test_entry_by_entry_against_loops(padding, data):
    case = data.draw(cases(padding))
    kernel = integers(case.kernel_shape)
    matrix = jax.jit(lambda kernel: ops.conv_matrix(kernel, case.input_size, **case.options))(kernel)
    np.testing.assert_array_equal(matrix, numpy_loops.matrix(np.asarray(kernel), case.input_size, **case.options))


@given(data=st.data())
@drawn_cases(2)
@pytest.mark.parametrize(("padding", "dtype"), repeated(PADDINGS_AND_DTYPES, quick=4))
def test_conv_multiplies_by_it_and_conv_transpose_by_its_transpose(padding, dtype, data):
    case = data.draw(cases(padding))

    @jax.jit
    def both(x, kernel):
        y = ops.conv(x, kernel, **case.options)
        back = ops.conv_transpose(y, kernel, input_size=case.input_size, **case.options)
        matrix = ops.conv_matrix(kernel, case.input_size, **case.options)
        rows, columns = y.reshape(2, -1).T, x.reshape(2, -1).T
        return rows, matrix @ columns, back.reshape(2, -1).T, matrix.T @ rows

    with jax.enable_x64(dtype == np.float64):
        y, product, back, transposed = both(normal(case.x_shape, dtype=dtype), normal(case.kernel_shape, 1, dtype))
        assert_close(y, product, dtype)
        assert_close(back, transposed, dtype)


def signal(*weights):
    return np.asarray(weights, np.float32).reshape(-1, 1, 1)


def matrix_of(kernel, input_size, **options):
    """Compiled as one, faster than operation by operation."""
    return np.asarray(jax.jit(lambda kernel: ops.conv_matrix(kernel, input_size, **options))(kernel))


class TestStructure:
    """Goodfellow, Bengio & Courville 2016, section 9.2: sparse interactions and parameter sharing, counted."""

    def test_of_a_signal_it_is_toeplitz(self):
        matrix = matrix_of(signal(1, 2, 3), 6, padding="same")
        np.testing.assert_array_equal(matrix, scipy.linalg.toeplitz([2, 1, 0, 0, 0, 0], [2, 3, 0, 0, 0, 0]))

    def test_of_a_circular_signal_it_is_circulant(self):
        matrix = matrix_of(signal(1, 2, 3), 6, padding="circular")
        np.testing.assert_array_equal(matrix, scipy.linalg.circulant([2, 1, 0, 0, 0, 3]))

    def test_a_reflected_border_adds_weights(self):
        matrix = matrix_of(signal(1, 2, 4), 4, padding="reflect")
        np.testing.assert_array_equal(matrix, [[2, 5, 0, 0], [1, 2, 4, 0], [0, 1, 2, 4], [0, 0, 5, 2]])

    def test_of_an_image_it_is_toeplitz_in_toeplitz_blocks(self):
        kernel = np.asarray(integers((3, 3, 1, 1)))
        blocks = matrix_of(kernel, (4, 5), padding="same").reshape(4, 5, 4, 5)
        rows = jax.jit(jax.vmap(lambda row: ops.conv_matrix(row, 5, padding="same")))(kernel)
        for i, n in np.ndindex(4, 4):
            row = n - i + 1
            np.testing.assert_array_equal(blocks[i, :, n], rows[row] if 0 <= row < 3 else np.zeros((5, 5)))

    def test_of_a_separable_kernel_it_is_a_kronecker_product(self):
        rows, columns = np.asarray(integers((3, 1, 1))), np.asarray(integers((2, 1, 1), 1))
        whole = matrix_of(rows[:, None] * columns[None], (4, 5), padding="circular")
        parts = (matrix_of(w, n, padding="circular") for w, n in ((rows, 4), (columns, 5)))
        np.testing.assert_array_equal(whole, np.kron(*parts))

    def test_five_to_five_has_25_places_and_3_weights(self):
        matrix = matrix_of(signal(0.5, -1.5, 2.5), 5, padding="same")
        assert matrix.size == 25
        assert set(matrix[matrix != 0]) == {0.5, -1.5, 2.5}
        assert np.count_nonzero(matrix) == 5 * 3 - 2

    @pytest.mark.parametrize(("n", "k", "c", "m"), [(5, 3, 1, 1), (6, 3, 2, 3), (7, 5, 3, 2)])
    def test_weights_of_a_kernel_against_those_of_a_dense_layer(self, n, k, c, m):
        kernel = np.arange(1, k * k * c * m + 1, dtype=np.float32).reshape(k, k, c, m)
        matrix = matrix_of(kernel, n, padding="circular")
        assert matrix.shape == (n * n * m, n * n * c)
        assert len(set(matrix[matrix != 0])) == k * k * c * m
        # Each output reads one window, and every weight is used once for each output position.
        assert (np.count_nonzero(matrix, axis=1) == k * k * c).all()
        assert all(np.count_nonzero(matrix == weight) == n * n for weight in range(1, k * k * c * m + 1))

    def test_groups_do_not_see_each_other(self):
        ones = np.ones((3, 2, 4), np.float32)
        matrix = matrix_of(ones, 5, padding="same", groups=2).reshape(5, 2, 2, 5, 2, 2)
        assert not matrix[:, 0, :, :, 1].any()
        assert not matrix[:, 1, :, :, 0].any()
        assert matrix[:, 0, :, :, 0].any()


def test_gradients_and_vmap():
    @jax.jit
    def build(kernel):
        return ops.conv_matrix(kernel, (4, 3), stride=(2, 1), padding="circular", groups=2)

    with jax.enable_x64(True):
        kernels = np.asarray(normal((2, 3, 2, 1, 2), dtype=np.float64))
        check_gradients(build, (kernels[0],))
        np.testing.assert_array_equal(jax.jit(jax.vmap(build))(kernels), np.stack(list(map(build, kernels))))
        counts = jax.jit(jax.grad(lambda kernel: build(kernel).sum()))(kernels[0])
        np.testing.assert_array_equal(counts, np.full((3, 2, 1, 2), 2 * 3))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_weights_are_copied(dtype):
    kernel = np.asarray(normal((3, 1, 1), dtype=dtype))
    matrix = matrix_of(kernel, 5)
    assert matrix.dtype == dtype
    np.testing.assert_array_equal(matrix[2, 1:4], kernel.ravel())


@pytest.mark.usefixtures("without_type_checks")
def test_sizes_may_be_numpys_integers():
    kernel = normal((3, 2, 4))
    expected = ops.conv_matrix(kernel, 6, stride=2, groups=2)
    got = ops.conv_matrix(kernel, np.int64(6), stride=np.int32(2), groups=np.int64(2))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("kernel", "input_size", "options", "message"),
    [
        (
            (7, 7, 3, 64),
            224,
            {"padding": "same"},
            r"would be 3211264 × 150528, 1800.8 GiB; at most 2 GiB is written out. Use a smaller map",
        ),
        ((3, 3, 1, 1), 10**9, {}, r"would be 10{18} × 10{18}, "),
        ((3, 1), 5, {}, r"kernel has shape \(3, 1\); a signal needs \(length, in, out\), an image"),
        ((3, 3, 3, 1, 1), 5, {}, r"kernel has shape \(3, 3, 3, 1, 1\); a signal needs"),
        ((3, 0, 1), 5, {}, r"kernel has shape \(3, 0, 1\), so no weights"),
        ((3, 1, 1), (5, 5), {}, r"input_size=\(5, 5\) must be a positive int, or 1 of them"),
        ((3, 1, 1), 0, {}, r"input_size=0 must be a positive int"),
        ((3, 1, 3), 5, {"groups": 2}, r"groups=2 must be a positive int that divides kernel's 3 outputs"),
        ((3, 1, 1), 2, {"padding": "valid"}, r"the window spans 3 positions, more than the 2"),
    ],
)
def test_errors_name_the_value_and_the_remedy(kernel, input_size, options, message):
    with pytest.raises(InputError, match=message):
        ops.conv_matrix(jnp.ones(kernel), input_size, **options)
