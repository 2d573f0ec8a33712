import itertools

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

# Compiled as one, an op starts several times faster than operation by operation.
STATIC = ("window", "stride", "padding", "input_size", "overlap")
pool = jax.jit(ops.max_pool_with_switches, static_argnames=STATIC[:3])
unpool = jax.jit(ops.max_unpool, static_argnames=STATIC)
spread = jax.jit(ops.avg_unpool, static_argnames=STATIC[:4])
PADDINGS = ["valid", "same", "full", "circular", "reflect", "same_xla", 1, "pairs"]


def few_values(shape, seed=0):
    """Nearly every window holds its maximum more than once, and sums are exact in any order."""
    return np.random.default_rng(seed).integers(-2, 3, size=shape).astype(np.float32)


def configure(padding, rank, window, stride):
    padding = ((1, 0), (0, 1))[:rank] if padding == "pairs" else padding
    return {"window": window, "stride": stride or window, "padding": padding}


@given(
    case=st.sampled_from([((2, 9, 3), (3,)), ((1, 7, 6, 2), (2, 3)), ((1, 6, 6, 2), (3, 3)), ((2, 8, 4, 1), (2, 2))]),
    stride=st.sampled_from([None, (1, 2), (2, 1), (2, 2), (3, 4)]),
    seed=st.integers(0, 99),
)
@drawn_cases(2)
@pytest.mark.parametrize(
    ("padding", "overlap"), repeated(zip(PADDINGS, itertools.cycle(["add", "overwrite", "max"])), quick=4)
)
def test_against_loops(padding, overlap, case, stride, seed):
    shape, window = case
    options = configure(padding, len(window), window, stride and stride[: len(window)])
    plain = {"size": options["window"], "stride": options["stride"], "padding": options["padding"]}
    x = few_values(shape, seed)
    y, switches = pool(x, **options)
    expected = numpy_loops.switches(x, **plain)
    np.testing.assert_array_equal(y, numpy_loops.pool(x, **plain, reduce=np.max, nothing=-np.inf))
    np.testing.assert_array_equal(switches, expected)
    assert switches.dtype == jnp.int32

    values = few_values(y.shape, seed + 1)
    # Switches that no maximum would give: windows that share a position may still differ about it.
    others = np.random.default_rng(seed).integers(0, np.prod(window), size=y.shape, dtype=np.int32)
    for at in (expected.astype(np.int32), others):
        back = unpool(values, at, input_size=shape[1:-1], **options, overlap=overlap)
        theirs = numpy_loops.unpool(values, at, shape[1:-1], **plain, overlap=overlap)
        np.testing.assert_array_equal(back, theirs)


@pytest.mark.parametrize("padding", repeated(["same", "circular"]))
def test_adding_is_the_gradient_of_max_pooling(padding):
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(2, 7, 6, 2))
        options = {"window": 3, "stride": 2, "padding": padding}

        @jax.jit
        def program(x, cotangent):
            _, pull, switches = jax.vjp(lambda x: ops.max_pool_with_switches(x, **options), x, has_aux=True)
            unpooled = [
                ops.max_unpool(cotangent, switches, input_size=(7, 6), **options, overlap=overlap)
                for overlap in ("add", "overwrite")
            ]
            return pull(cotangent)[0], *unpooled

        gradient, added, overwritten = program(x, np.random.default_rng(1).normal(size=(2, 4, 3, 2)))
        np.testing.assert_allclose(added, gradient, rtol=1e-14, atol=1e-15)
        assert np.abs(overwritten - gradient).max() > 0.1


def test_the_gradient_flows_through_the_maximum():
    x = np.asarray([[3, 1], [3, 4]], np.float32).reshape(1, 2, 2, 1)
    gradient = jax.jit(jax.grad(lambda x: ops.max_pool_with_switches(x, (2, 1))[0].sum()))(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[1, 0], [0, 1]])


class TestSwitches:
    def test_count_in_row_major_order(self):
        x = np.asarray([[0, 0, 0], [1, 0, 0]], np.float32).reshape(1, 2, 3, 1)
        assert pool(x, window=(2, 3))[1].item() == 3

    def test_name_the_first_of_equals(self):
        x = np.asarray([[0, 1], [1, 1]], np.float32).reshape(1, 2, 2, 1)
        assert pool(x, window=2)[1].item() == 1

    def test_name_the_first_nan(self):
        x = np.asarray([[9, 1], [np.nan, np.nan]], np.float32).reshape(1, 2, 2, 1)
        y, switches = pool(x, window=2)
        assert np.isnan(y).all()
        assert switches.item() == 2

    def test_stay_on_the_map_where_all_is_minus_infinity(self):
        x = np.full((1, 3, 3, 1), -np.inf, np.float32)
        y, switches = pool(x, window=3, stride=2, padding=1)
        np.testing.assert_array_equal(y, np.full((1, 2, 2, 1), -np.inf))
        np.testing.assert_array_equal(switches[0, :, :, 0], [[4, 3], [1, 0]])

    def test_of_windows_as_long_as_the_map(self):
        x = few_values((1, 40, 2))
        switches = pool(x, window=40)[1]
        np.testing.assert_array_equal(np.asarray(switches)[:, 0], x.argmax(1))


def test_unpooling_what_was_pooled_restores_the_maxima():
    x = np.abs(np.random.default_rng(0).normal(size=(2, 6, 9, 2))).astype(np.float32)
    y, switches = pool(x, window=(2, 3))
    back = unpool(y, switches, input_size=(6, 9), window=(2, 3))
    np.testing.assert_array_equal(pool(back, window=(2, 3))[0], y)
    np.testing.assert_array_equal(back, np.where(np.asarray(back) > 0, x, 0))
    assert (np.asarray(back) > 0).sum() == y.size


def test_what_lands_in_zero_padding_is_lost():
    y, switches = np.ones((2, 2, 1), np.float32), np.asarray([[0, 0], [1, 2]], np.int32)[..., None]
    for overlap in ("add", "overwrite", "max"):
        options = {"input_size": 2, "window": 3, "stride": 2, "padding": ((1, 2),), "overlap": overlap}
        np.testing.assert_array_equal(np.squeeze(unpool(y, switches, **options)), [[0, 1], [1, 0]])


def test_values_without_a_largest_and_negative_ones_stay():
    y = np.asarray([-1, -2, np.nan, 5, -np.inf], np.float32).reshape(1, 5, 1)
    switches = np.asarray([1, 0, 1, 0, 0], np.int32).reshape(1, 5, 1)
    back = unpool(y, switches, input_size=6, window=2, stride=1, overlap="max")
    np.testing.assert_array_equal(np.ravel(back), [0, -1, 0, np.nan, -np.inf, 0])


@pytest.mark.parametrize("overlap", ["add", "overwrite", "max"])
def test_transformations_of_max_unpool(overlap):
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        y = rng.permutation(36).reshape(2, 1, 3, 3, 2) / 36
        switches = rng.integers(0, 9, size=y.shape)

        @jax.jit
        def one(y, switches):
            return ops.max_unpool(y, switches, input_size=5, window=3, stride=2, padding=1, overlap=overlap)

        check_gradients(lambda y: one(y, switches[0]), (y[0],), eps=1e-4)
        np.testing.assert_array_equal(jax.jit(jax.vmap(one))(y, switches), np.stack(list(map(one, y, switches))))


def test_bfloat16_is_kept_and_overlaps_are_added_in_float32():
    y = np.full((1, 300, 1), 1, jnp.bfloat16)
    y[0, 0] = 256
    switches = np.asarray(299 - np.arange(300), np.int32).reshape(1, 300, 1)
    back = np.asarray(unpool(y, switches, input_size=599, window=300, stride=1))
    assert back.dtype == jnp.bfloat16
    assert back[0, 299, 0] == jnp.bfloat16(256 + 299)


class TestAvgUnpool:
    @pytest.mark.parametrize("padding", PADDINGS)
    @pytest.mark.parametrize(
        ("shape", "window", "stride"),
        [((2, 7, 3), (3,), (2,)), ((1, 5, 4, 1), (3, 2), (1, 2))],
    )
    def test_is_the_adjoint_of_the_mean_written_out(self, shape, window, stride, padding):
        options = configure(padding, len(window), window, stride)
        rng = np.random.default_rng(0)
        x = rng.normal(size=shape).astype(np.float32)
        pooled = numpy_loops.pool(
            x, window, stride=options["stride"], padding=options["padding"], reduce=np.mean, nothing=0.0
        )
        y = rng.normal(size=pooled.shape).astype(np.float32)
        back = spread(y, input_size=shape[1:-1], **options)
        assert back.shape == x.shape
        np.testing.assert_allclose(np.vdot(pooled, y), np.vdot(x, back), rtol=1e-4)

    def test_spreads_one_value_evenly_and_adds_where_windows_overlap(self):
        y = np.asarray([9, 18], np.float32).reshape(1, 2, 1)
        np.testing.assert_array_equal(np.ravel(spread(y, window=3, input_size=6, stride=2)), [3, 3, 9, 6, 6, 0])

    def test_is_nearest_neighbour_up_sampling_over_the_window(self):
        y = few_values((2, 3, 4, 2))
        expected = y.repeat(2, axis=1).repeat(4, axis=2) / 8
        np.testing.assert_array_equal(spread(y, window=(2, 4), input_size=(6, 16)), expected)

    def test_transformations(self):
        y = few_values((3, 1, 2, 2, 1))

        @jax.jit
        def one(y):
            return ops.avg_unpool(y, 3, input_size=4, stride=2, padding="circular")

        np.testing.assert_array_equal(jax.jit(jax.vmap(one))(y), np.stack(list(map(one, y))))
        check_gradients(one, (y[0],), atol=1e-2, rtol=1e-2)
        assert jax.eval_shape(one, y[0].astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": 5, "window": 2, "padding": 1}, r"y has spatial size \(2, 2\), but pooling makes \(3, 3\)"),
        ({"input_size": (4, 4, 4), "window": 2}, r"input_size=\(4, 4, 4\) must be a positive int, or 2 of them"),
        ({"input_size": 4, "window": 0}, r"window=0 must be a positive int"),
        ({"input_size": 4, "window": 2, "stride": 0}, r"stride=0 must be a positive int"),
        ({"input_size": 4, "window": 2, "padding": "zero"}, r"padding='zero' is unknown; use one of valid"),
    ],
)
def test_errors_name_the_value_and_the_remedy(options, message):
    y = jnp.ones((1, 2, 2, 1))
    with pytest.raises(InputError, match=message):
        ops.max_unpool(y, jnp.zeros(y.shape, jnp.int32), **options)
    with pytest.raises(InputError, match=message):
        ops.avg_unpool(y, **options)


def test_errors_of_max_unpool_alone(without_type_checks):
    y, switches = jnp.ones((1, 2, 2, 1)), jnp.zeros((1, 2, 2, 1), jnp.int32)
    with pytest.raises(InputError, match=r"overlap='mean' is unknown; use one of add, overwrite, max"):
        ops.max_unpool(y, switches, input_size=4, window=2, overlap="mean")
    with pytest.raises(InputError, match=r"switches has shape \(1, 2, 2, 2\), y \(1, 2, 2, 1\)"):
        ops.max_unpool(y, jnp.zeros((1, 2, 2, 2), jnp.int32), input_size=4, window=2)
    with pytest.raises(InputError, match=r"padding=2 makes a window of 2 out of nothing but padding"):
        ops.max_unpool(y, switches, input_size=2, window=2, padding=2)
    for op in (ops.avg_unpool, lambda y, window, **options: ops.max_unpool(y, switches, window=window, **options)):
        with pytest.raises(InputError, match=r"y has shape \(2, 2\); expected"):
            op(jnp.ones((2, 2)), 2, input_size=4)
        with pytest.raises(InputError, match=r"is int32; (un)?pooling needs floating point"):
            op(jnp.ones((1, 2, 2, 1), jnp.int32), 2, input_size=4)
