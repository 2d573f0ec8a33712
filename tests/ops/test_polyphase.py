import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import InputError, ops
from tests.drawn_cases import drawn_cases
from tests.gradients import check_gradients

pool_with_phase = jax.jit(ops.polyphase_pool_with_phase, static_argnames=("stride", "order"))
components = jax.jit(ops.polyphase_components, static_argnames="stride")
select = jax.jit(ops.select_phase, static_argnames="stride")
unpool = jax.jit(ops.polyphase_unpool, static_argnames=("stride", "input_size"))


def draw(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def roll(x, shifts):
    return np.roll(x, shifts, tuple(range(1, x.ndim - 1)))


def phases(x, stride):
    """Every phase of the map, cut to one length, in row-major order."""
    cut = tuple(slice(n // s * s) for n, s in zip(x.shape[1:-1], stride, strict=True))
    x = x[:, *cut]
    starts = itertools.product(*map(range, stride))
    return [x[:, *(slice(r, None, s) for r, s in zip(start, stride, strict=True))] for start in starts]


@given(
    case=st.sampled_from([((2, 9, 3), (3,)), ((3, 8, 2), (4,)), ((2, 8, 6, 2), (2, 3)), ((3, 7, 9, 1), (2, 2))]),
    order=st.sampled_from([1, 1.5, 2, 3, math.inf]),
    seed=st.integers(0, 99),
)
@drawn_cases(6)
def test_against_every_phase_written_out(case, order, seed):
    shape, stride = case
    x = draw(shape, seed)
    parts = phases(x, stride)
    norms = [np.linalg.norm(part.reshape(len(x), -1), ord=order, axis=1) for part in parts]
    expected = np.argmax(norms, axis=0)
    with jax.enable_x64(True):
        y, phase = pool_with_phase(x, stride=stride, order=order)
        split = components(x, stride=stride)
    assert phase.dtype == jnp.int32
    np.testing.assert_array_equal(phase, expected)
    np.testing.assert_array_equal(y, [parts[k][b] for b, k in enumerate(expected)])
    np.testing.assert_array_equal(split, np.stack(parts, 1))


def network(strides, channels=(2, 3, 4, 3), *, padding, dtype):
    """Convolutions of stride 1 and rectifiers, each followed by a pool of its own stride."""
    kernels = [
        draw((3, 3, a, b), seed=10 + i, dtype=dtype) / np.asarray(np.sqrt(9 * a), dtype)
        for i, (a, b) in enumerate(itertools.pairwise(channels))
    ]

    def forward(pool, x):
        for kernel, stride in zip(kernels, strides, strict=False):
            x = pool(jax.nn.relu(ops.conv(x, jnp.asarray(kernel), padding=padding)), stride)
        return x

    return forward


def adaptive(x, stride):
    return ops.polyphase_pool(x, stride=stride)


def first(x, stride):
    return x[:, ::stride, ::stride]


@pytest.mark.parametrize(
    ("size", "strides", "dtype", "tolerance"),
    [
        (32, (2, 2, 2), "float64", 1e-12),
        (28, (2, 2), "float32", 1e-5),
        (18, (3, 2), "float64", 1e-12),
        (24, (2, (4, 3)), "float64", 1e-12),
    ],
)
def test_any_circular_shift_of_the_image_only_rolls_the_map(size, strides, dtype, tolerance):
    shifts = [(0, 0), (1, 0), (0, -1), (3, 5), (-7, 2), (11, 13)]
    with jax.enable_x64(True):
        forward = network(strides, padding="circular", dtype=dtype)
        images = np.concatenate([roll(draw((1, size, size, 2), dtype=dtype), shift) for shift in shifts])
        maps = np.asarray(jax.jit(functools.partial(forward, adaptive))(images))
    means = maps.mean((1, 2))
    np.testing.assert_allclose(means, np.broadcast_to(means[:1], means.shape), rtol=0, atol=tolerance)
    for moved in maps[1:]:
        rolled = [roll(maps[:1], shift)[0] for shift in np.ndindex(maps.shape[1:3])]
        assert min(np.abs(moved - candidate).max() for candidate in rolled) < tolerance
    assert maps[0].std() > 0.1


def relative_change(pool, padding):
    """How much the mean map changes at most when the image is shifted circularly."""
    with jax.enable_x64(True):
        forward = functools.partial(network((2, 2), padding=padding, dtype="float64"), pool)
        images = np.concatenate([roll(draw((1, 16, 16, 2)), shift) for shift in ((0, 0), (1, 0), (3, 5), (-7, 2))])
        means = np.asarray(jax.jit(forward)(images)).mean((1, 2))
    return np.linalg.norm(means[1:] - means[0], axis=1).max() / np.linalg.norm(means[0])


def test_zero_padding_breaks_it():
    assert relative_change(adaptive, "circular") < 1e-12
    # About as much as plain decimation, with which circular padding does not help.
    assert 0.02 < relative_change(adaptive, "same") < 0.5
    assert 0.02 < relative_change(first, "same") < 0.5
    assert 0.02 < relative_change(first, "circular") < 0.5


def test_sizes_that_the_stride_does_not_divide_break_it():
    x = draw((1, 9, 9, 1))
    means = [np.mean(pool_with_phase(roll(x, (i, 0)).astype(np.float32))[0]) for i in range(3)]
    assert np.ptp(np.asarray(means)) > 1e-2


DOWNSAMPLERS = {
    "stride": lambda x, s: x[:, *(slice(None, None, s),) * (x.ndim - 2)],
    "max": ops.max_pool,
    "max 3×3": lambda x, s: ops.max_pool(x, 3, stride=s, padding="circular"),
    "average": ops.avg_pool,
    "average 3×3": lambda x, s: ops.avg_pool(x, 3, stride=s, padding="circular"),
    "lp": lambda x, s: ops.lp_pool(x, 3, stride=s, padding="circular"),
    "blur": lambda x, s: ops.blur_pool(x, taps=4, stride=s, padding="circular"),
    "max blur": lambda x, s: ops.max_blur_pool(x, 2, stride=s, padding="circular"),
    "polyphase": lambda x, s: ops.polyphase_pool(x, stride=s),
}


@pytest.mark.parametrize("name", DOWNSAMPLERS)
def test_circular_shifts_by_multiples_of_the_total_stride_are_exact(name):
    pool = DOWNSAMPLERS[name]
    with jax.enable_x64(True):
        forward = network((2, 3), padding="circular", dtype="float64")
        x = draw((1, 12, 18, 2))
        shifts = [(0, 0), (1, 0), (-1, 2), (0, 1)]
        images = np.concatenate([roll(x, (6 * i, 6 * j)) for i, j in shifts])
        maps = np.asarray(jax.jit(functools.partial(forward, pool))(images))
    expected = np.concatenate([roll(maps[:1], shift) for shift in shifts])
    np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-12)


class TestTheChoice:
    def test_is_each_images_own(self):
        x = np.zeros((2, 4, 4, 1), np.float32)
        x[0, 2, 1] = x[1, 3, 2] = 1
        y, phase = pool_with_phase(x)
        np.testing.assert_array_equal(phase, [1, 2])
        np.testing.assert_array_equal(np.asarray(y).sum((1, 2, 3)), [1, 1])

    def test_takes_the_first_of_equals(self):
        assert pool_with_phase(np.ones((1, 6, 6, 1), np.float32), stride=3)[1].item() == 0
        x = np.asarray([0, -1, 1], np.float32).reshape(1, 3, 1)
        assert pool_with_phase(x, stride=3)[1].item() == 1

    def test_depends_on_the_order(self):
        # Norms of the two phases: sums 6 and 5, squares 12 and 17, largest 2 and 4.
        x = np.asarray([2, 4, 2, 1, 2, 0], np.float32).reshape(1, 6, 1)
        chosen = {order: pool_with_phase(x, order=order)[1].item() for order in (1, 2, math.inf)}
        assert chosen == {1: 0, 2: 1, math.inf: 1}

    @pytest.mark.parametrize("scale", [1e30, 1e-30])
    def test_holds_where_powers_would_overflow_or_vanish(self, scale):
        x = np.asarray([scale, 3 * scale, scale, 2 * scale], np.float32).reshape(1, 4, 1)
        np.testing.assert_array_equal(pool_with_phase(x, order=4)[0], x[:, 1::2])

    def test_of_nothing_and_of_infinity(self):
        np.testing.assert_array_equal(pool_with_phase(np.zeros((1, 4, 1), np.float32))[0], 0)
        x = np.asarray([1, 2, 3, np.inf], np.float32).reshape(1, 4, 1)
        np.testing.assert_array_equal(np.ravel(pool_with_phase(x)[0]), [2, np.inf])

    def test_sums_in_float32(self):
        # In bfloat16 a running sum of ones stops at 256, and the larger phase would not be seen.
        x = np.ones((1, 1024, 1), jnp.bfloat16)
        x[0, 1023] = 1.5
        y, phase = pool_with_phase(x)
        assert phase.item() == 1
        assert y.dtype == jnp.bfloat16


class TestGivenAPhase:
    @pytest.mark.parametrize(("shape", "stride"), [((3, 6, 2), 3), ((3, 5, 7, 2), 2), ((3, 4, 6, 1), (2, 3))])
    def test_selecting_and_unpooling_are_written_out(self, shape, stride):
        per_axis = (stride,) * (len(shape) - 2) if isinstance(stride, int) else stride
        x, chosen = draw(shape, dtype=np.float32), np.asarray([0, np.prod(per_axis) - 1, 1], np.int32)
        y = np.asarray(select(x, chosen, stride=stride))
        np.testing.assert_array_equal(y, [phases(x, per_axis)[k][b] for b, k in enumerate(chosen)])

        back = unpool(y, chosen, stride=stride, input_size=shape[1:-1])
        expected = np.zeros_like(x)
        for b, *i, c in np.ndindex(y.shape):
            start = np.unravel_index(chosen[b], per_axis)
            expected[b, *(s * a + r for a, s, r in zip(i, per_axis, start, strict=True)), c] = y[b, *i, c]
        np.testing.assert_array_equal(back, expected)
        np.testing.assert_array_equal(select(back, chosen, stride=stride), y)

    def test_pooling_what_was_unpooled_gives_it_back(self):
        y, phase = pool_with_phase(draw((2, 6, 6, 1), dtype=np.float32), stride=3)
        back = unpool(y, phase, stride=3, input_size=6)
        again, same_phase = pool_with_phase(back, stride=3)
        np.testing.assert_array_equal(again, y)
        np.testing.assert_array_equal(same_phase, phase)

    def test_a_shortcut_follows_the_main_branch(self):
        x, shortcut = draw((1, 8, 8, 1), dtype=np.float32), draw((1, 8, 8, 1), seed=1, dtype=np.float32)
        sums = []
        for i in range(2):
            y, phase = pool_with_phase(roll(x, (i, 0)))
            sums.append(np.vdot(y, select(roll(shortcut, (i, 0)), phase, stride=2)))
        np.testing.assert_allclose(*sums, rtol=1e-5)

    def test_integers_and_booleans_can_be_selected(self):
        x = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
        y = np.asarray(select(x, np.asarray([1], np.int32), stride=2))
        assert y.dtype == np.uint8
        np.testing.assert_array_equal(y.ravel(), [1, 3, 5, 7])


def test_gradients_and_vmap():
    with jax.enable_x64(True):
        x = draw((3, 2, 4, 6, 2))
        pool = jax.jit(lambda x: ops.polyphase_pool(x, stride=(2, 3)))
        check_gradients(pool, (x[0],))
        np.testing.assert_array_equal(jax.jit(jax.vmap(pool))(x), np.stack(list(map(pool, x))))


def test_the_gradient_goes_to_the_samples_taken():
    x, phase = np.asarray([0, np.inf, np.nan, 1], np.float32).reshape(1, 4, 1), np.asarray([1], np.int32)
    (gradient,) = jax.vjp(lambda x: select(x, phase, stride=2), x)[1](np.asarray([[[2], [3]]], np.float32))
    np.testing.assert_array_equal(np.ravel(gradient), [0, 2, 0, 3])


@pytest.mark.parametrize("order", [0, 0.5, -1, math.nan])
def test_other_orders_are_refused(order):
    with pytest.raises(InputError, match=rf"order={order} must be at least 1; math.inf compares"):
        ops.polyphase_pool(jnp.ones((1, 4, 1)), order=order)


@pytest.mark.parametrize(
    ("shape", "stride", "message"),
    [
        ((1, 4, 3, 1), 4, r"stride=4 is larger than the map of \(4, 3\), which would leave no sample"),
        ((1, 4, 4, 1), 0, r"stride=0 must be a positive int"),
        ((1, 4, 4, 1), (2, 2, 2), r"stride=\(2, 2, 2\) must be a positive int, or 2 of them"),
        ((4, 4), 2, r"x has shape \(4, 4\); expected"),
    ],
)
def test_errors_name_the_value_and_the_remedy(shape, stride, message):
    phase = jnp.zeros(shape[0], jnp.int32)
    for op in (ops.polyphase_pool, ops.polyphase_components, lambda x, **o: ops.select_phase(x, phase, **o)):
        with pytest.raises(InputError, match=message):
            op(jnp.ones(shape), stride=stride)


def test_errors_of_unpooling_and_of_phases(without_type_checks):
    y, phase = jnp.ones((2, 2, 2, 1)), jnp.zeros(2, jnp.int32)
    with pytest.raises(
        InputError, match=r"y has spatial size \(2, 2\), but stride=2 makes \(3, 3\) of input_size=\(6, 6"
    ):
        ops.polyphase_unpool(y, phase, stride=2, input_size=6)
    with pytest.raises(
        InputError, match=r"phase has shape \(3,\); x of shape \(2, 2, 2, 1\) needs \(2,\), one for each"
    ):
        ops.select_phase(y, jnp.zeros(3, jnp.int32), stride=2)
    with pytest.raises(InputError, match=r"x is uint8; the norm needs floating point"):
        ops.polyphase_pool(jnp.ones((1, 4, 1), jnp.uint8))
