"""Called outside `jit`, where users first try them, operations give what they give inside."""

import functools

import jax
import numpy as np
import pytest

from cnnjax import ops

X = np.random.default_rng(0).normal(size=(1, 6, 5, 4)).astype(np.float32)
KERNEL = np.random.default_rng(1).normal(size=(3, 2, 4, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("op", "arrays"),
    [
        (functools.partial(ops.convolve, padding="circular"), (X, KERNEL)),
        (functools.partial(ops.fourier_shift, offset=(0.3, -2.6)), (X,)),
        (ops.global_max_pool, (X,)),
        (functools.partial(ops.avg_unpool, window=2, input_size=(12, 10)), (X,)),
        (functools.partial(ops.max_unpool, window=2, input_size=(12, 10)), (X, np.ones(X.shape, np.int32))),
        (functools.partial(ops.lp_pool, window=2), (X,)),
        (functools.partial(ops.select_phase, stride=2), (X, np.ones(1, np.int32))),
        (ops.group_pool, (X[..., None],)),
    ],
    ids=["convolve", "shift", "global_max_pool", "avg_unpool", "max_unpool", "lp_pool", "select_phase", "group_pool"],
)
def test_eager_is_jitted(op, arrays):
    arrays = [jax.numpy.asarray(array) for array in arrays]
    np.testing.assert_allclose(op(*arrays), jax.jit(op)(*arrays), rtol=1e-5, atol=1e-5)
