"""Programs do not grow with strides or windows: a pool over a whole map compiles as fast as a small one."""

import functools

import jax
import jax.numpy as jnp
import pytest

from cnnjax import ops
from tests.repeats import repeated

WINDOWED = {
    "max_pool": ops.max_pool,
    "avg_pool": ops.avg_pool,
    "lp_pool": ops.lp_pool,
    "lp_pool, p = 3": functools.partial(ops.lp_pool, p=3),
    "max_pool_with_switches": lambda x, window, **options: ops.max_pool_with_switches(x, window, **options)[0],
    "unpooled": lambda x, window, **options: ops.max_unpool(
        *ops.max_pool_with_switches(x, window, **options), input_size=x.shape[1:-1], window=window, **options
    ),
    "avg_unpool": lambda x, window, **options: ops.avg_unpool(
        ops.avg_pool(x, window, **options), window, input_size=x.shape[1:-1], **options
    ),
}
STRIDED = {
    "blur_pool": functools.partial(ops.blur_pool, taps=5),
    "max_blur_pool": functools.partial(ops.max_blur_pool, window=2),
    **{name: functools.partial(op, window=2) for name, op in WINDOWED.items()},
}


def lines(op, shape, **options):
    """The length of the program for values and gradients."""

    def both(x):
        y, pull = jax.vjp(functools.partial(op, **options), x)
        return y, pull(jnp.ones_like(y))

    return len(jax.jit(both).lower(jax.ShapeDtypeStruct(shape, jnp.float32)).as_text().splitlines())


@pytest.mark.parametrize("name", WINDOWED)
def test_of_a_window_over_the_whole_map(name):
    op = WINDOWED[name]
    assert lines(op, (1, 400, 500, 2), window=(400, 500)) <= 1.1 * lines(op, (1, 40, 50, 2), window=(40, 50))


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize("options", repeated([{"stride": 3, "padding": "same"}, {"stride": 1}]))
def test_of_windows_that_overlap_follows_the_logarithm_of_the_window(name, options):
    # 64 places take six steps of the fold, 1024 ten.
    op = WINDOWED[name]
    assert lines(op, (1, 1500, 1), window=1024, **options) <= 10 / 6 * 1.1 * lines(
        op, (1, 100, 1), window=64, **options
    )


@pytest.mark.parametrize("name", STRIDED)
def test_of_a_stride_beyond_the_map(name):
    op = STRIDED[name]
    small = lines(op, (1, 6, 7, 1), stride=7)
    assert lines(op, (1, 6, 7, 1), stride=10**6) == small
    assert small <= 1.1 * lines(op, (1, 6, 7, 1), stride=3)


@pytest.mark.parametrize("name", STRIDED)
def test_of_a_stride_between_window_and_map(name):
    op = STRIDED[name]
    assert lines(op, (1, 400, 400, 1), stride=150) <= 1.1 * lines(op, (1, 400, 400, 1), stride=15)


@pytest.mark.parametrize("op", [ops.polyphase_pool, lambda x, **options: ops.polyphase_components(x, **options)])
def test_of_polyphase_pools_at_any_stride(op):
    assert lines(op, (1, 300, 300, 1), stride=300) <= lines(op, (1, 300, 300, 1), stride=3)
