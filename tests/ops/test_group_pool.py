import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_groups import on_image, on_map

from cnnjax import ops
from tests.gradients import check_gradients


def draw(shape, seed=0, dtype=None):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype or np.float64)


class TestGroupPool:
    @pytest.mark.parametrize(("reduce", "numpy"), [("max", np.max), ("mean", np.mean)])
    def test_is_numpys_and_an_equivariant_image(self, reduce, numpy):
        with jax.enable_x64(True):
            x = draw((2, 3, 4, 8, 3))
            pool = jax.jit(lambda x: ops.group_pool(x, reduce=reduce))
            pooled = pool(x)
            np.testing.assert_allclose(pooled, numpy(x, axis=3), atol=1e-14)
            for g in range(8):
                np.testing.assert_allclose(pool(on_map(x, g, "p4m")), on_image(pooled, g, "p4m"), atol=1e-14)
            check_gradients(pool, (x,))

    def test_equal_maxima_share_the_gradient(self):
        x = np.asarray([1, 3, 3, 0], np.float32).reshape(1, 1, 1, 4, 1)
        gradient = jax.jit(jax.grad(lambda x: ops.group_pool(x).sum()))(x)
        np.testing.assert_array_equal(np.ravel(gradient), [0, 0.5, 0.5, 0])

    @pytest.mark.parametrize("level", [0, 1])
    def test_the_gradient_goes_to_the_maximum_however_it_is_compiled(self, level):
        # At level 0 what comes before the maximum is computed twice, and rounded differently.
        x, signal = draw((20, 4, 4, 4, 2), 0, np.float32), draw((20, 4, 4, 1, 2), 1, np.float32)
        weight, shift = draw((1, 1, 1, 1, 2), 2, np.float32), draw((1, 1, 1, 1, 2), 3, np.float32)

        def loss(x):
            return (ops.group_pool(x * weight + shift) * signal[:, :, :, 0]).sum()

        compiled = jax.jit(jax.grad(loss), compiler_options={"xla_backend_optimization_level": level})
        y = x.astype(np.float64) * weight + shift
        expected = np.where(y == y.max(3, keepdims=True), weight * signal, 0)
        np.testing.assert_allclose(compiled(x), expected, rtol=1e-5)

    def test_mean_of_bfloat16_is_taken_in_float32(self):
        x = np.asarray([256, 1, 1, 1, 1, 1, 1, 1], jnp.bfloat16).reshape(1, 1, 1, 8, 1)
        y = jax.jit(lambda x: ops.group_pool(x, reduce="mean"))(x)
        assert y.dtype == jnp.bfloat16
        assert y.item() == jnp.bfloat16(263 / 8)
