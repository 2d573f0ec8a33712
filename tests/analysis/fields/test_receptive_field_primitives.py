"""Every family of primitives: the rule it should have, and no pixel left out that a derivative reaches."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnnjax import analysis, ops
from tests.repeats import repeated

N = 12


def conv(x, k, **options):
    return ops.conv(x, jnp.linspace(0.5, 1.0, k)[:, None, None], **options)


def deconv(x, k, stride):
    return lax.conv_transpose(x, jnp.linspace(0.5, 1.0, k)[:, None, None], (stride,), "SAME")


def resize(method, n, antialias=True):
    return lambda x: jax.image.resize(x, (x.shape[0], n, 1), method, antialias=antialias)


def phase(x):
    """The phase of stride 2 that has the greater norm, for each image."""
    return jnp.argmax((x.reshape(-1, N // 2, 2) ** 2).sum(1), -1)


def polyphase_gather(x):
    return jnp.take_along_axis(x.reshape(-1, N // 2, 2, 1), phase(x)[:, None, None, None], axis=2)[:, :, 0]


def polyphase_index(x):
    index = phase(x)[:, None] + 2 * jnp.arange(N // 2)[None]
    return jnp.take_along_axis(x, index[..., None], axis=1)


def polyphase_slice(x):
    def one(image):
        padded = jnp.pad(image, ((0, 1), (0, 0)))
        return lax.dynamic_slice_in_dim(padded, phase(image[None])[0], N)[::2]

    return jax.vmap(one)(x)


def polyphase_switch(x):
    return lax.cond(phase(x)[0] == 0, lambda x: x[:, ::2], lambda x: x[:, 1::2], x)


def polyphase_where(x):
    first = (phase(x) == 0)[:, None, None]
    return jnp.where(first, x[:, ::2], x[:, 1::2])


def polyphase_mask(x):
    blocks = x.reshape(-1, N // 2, 2, 1)
    chosen = (phase(x)[:, None] == jnp.arange(2)[None])[:, None, :, None]
    return jnp.where(chosen, blocks, jnp.zeros_like(blocks)).sum(2)


def loop(rounds):
    return lambda x: lax.fori_loop(0, rounds, lambda _, y: conv(y, 3), x)


def scanned_kernels(x):
    return lax.scan(lambda y, kernel: (ops.conv(y, kernel), None), x, jnp.ones((4, 3, 1, 1)))[0]


def counted_slices(x):
    """Adds the map moved by 0, 1 and 2: the start is a counter of the loop."""
    padded = jnp.pad(x, ((0, 0), (0, 2), (0, 0)))
    return lax.fori_loop(0, 3, lambda i, y: y + lax.dynamic_slice_in_dim(padded, i, N, 1), jnp.zeros_like(x))


def row_by_row(x):
    return jnp.moveaxis(lax.map(lambda row: 2 * row, jnp.moveaxis(x, 1, 0)), 0, 1)


def scattered(x):
    return jnp.zeros((1, 3 * N, 1)).at[:, jnp.arange(1, 3 * N, 3)].add(x)


def low_pass(x):
    spectrum = jnp.fft.rfft(x, axis=1)
    return jnp.fft.irfft(spectrum.at[:, 4:].set(0), axis=1)


def recurrence(x):
    _, states = lax.scan(lambda state, row: (state + row,) * 2, jnp.zeros((1, 1)), jnp.moveaxis(x, 1, 0))
    return jnp.moveaxis(states, 0, 1)


@jax.custom_vjp
def through(x):
    return x * x


through.defvjp(lambda x: (x * x, x), lambda x, g: (2 * x * g,))

# What the field follows: size, stride and padding before, units as many as the result has.
FOLLOWED = {
    "identity": (lambda x: x, (1, 1, 0)),
    "elementwise": (lambda x: jnp.exp(jnp.tanh(x) * 2 + jnp.maximum(x, 0)) ** 2, (1, 1, 0)),
    "strided": (lambda x: conv(x, 3, stride=2), (3, 2, 1)),
    "dilated": (lambda x: conv(x, 3, dilation=2), (5, 1, 2)),
    "deconv 3/2": (lambda x: deconv(x, 3, 2), (2, 1 / 2, 1)),
    "deconv 2/2": (lambda x: deconv(x, 2, 2), (3 / 2, 1 / 2, 1 / 2)),
    "deconv 4/2": (lambda x: deconv(x, 4, 2), (5 / 2, 1 / 2, 1)),
    "adjoint": (lambda y: ops.conv_transpose(y, jnp.ones((3, 1, 1)), input_size=2 * N, stride=2), (2, 1 / 2, 1 / 2)),
    "average pool": (lambda x: ops.avg_pool(x, 3, stride=2, padding="same"), (3, 2, 1)),
    "strided slice": (lambda x: x[:, 1::3], (1, 3, -1)),
    "flip": (lambda x: jnp.flip(x, 1), (1, -1, -(N - 1))),
    "pad": (lambda x: jnp.pad(x, ((0, 0), (2, 1), (0, 0))), (1, 1, 2)),
    "crop by padding": (lambda x: lax.pad(x, 0.0, ((0, 0, 0), (-2, -1, 0), (0, 0, 0))), (1, 1, -2)),
    "repeat": (lambda x: jnp.repeat(x, 2, 1), (3 / 2, 1 / 2, 1 / 2)),
    "transpose": (lambda x: x.transpose(2, 1, 0).transpose(2, 1, 0), (1, 1, 0)),
    "squeeze": (lambda x: conv(x, 3).squeeze(-1)[..., None], (3, 1, 1)),
    "split": (lambda x: jnp.split(x, 3, 1)[1], (1, 1, -4)),
    "unstack": (lambda x: jnp.stack(jnp.unstack(x, axis=1)[2:7], 1), (1, 1, -2)),
    "tile of channels": (lambda x: jnp.tile(conv(x, 3), (1, 1, 3)), (3, 1, 1)),
    "take": (lambda x: x[:, np.arange(1, N, 3)], (1, 3, -1)),
    "take backwards": (lambda x: jnp.take(x, jnp.arange(N - 1, -1, -2), axis=1), (1, -2, -(N - 1))),
    "shift": (lambda x: ops.shift(x, (3,)), (1, 1, 3)),
    "scatter": (lambda x: jnp.zeros((1, 2 * N, 1)).at[:, 3 : 3 + N].set(x), (1, 1, 3)),
    "scatter far": (
        lambda x: jnp.zeros((1, 3 * N, 1)).at[:, jnp.arange(1, 3 * N, 3)].add(x),
        (1, Fraction(1, 3), Fraction(1, 3)),
    ),
    "update": (lambda x: lax.dynamic_update_slice(jnp.zeros((1, 2 * N, 1)), x, (0, 4, 0)), (1, 1, 4)),
    "nearest": (resize("nearest", 2 * N), (3 / 2, 1 / 2, 1 / 2)),
    "linear up": (resize("linear", 2 * N), (5 / 2, 1 / 2, 1)),
    "linear down": (resize("linear", N // 2), (4, 2, 1)),
    "linear down, aliased": (resize("linear", N // 2, antialias=False), (2, 2, 0)),
    "matrix": (lambda x: jnp.einsum("bnc,nm->bmc", x, jnp.eye(N, k=2) + jnp.eye(N)), (3, 1, 2)),
    "space to depth": (lambda x: x.reshape(1, N // 3, 3), (3, 3, 0)),
    "depth to space": (lambda x: jnp.concatenate([x, 2 * x], -1).reshape(1, 2 * N, 1), (3 / 2, 1 / 2, 1 / 2)),
    "patches": (lambda x: conv(x.reshape(N // 4, 4, 1), 3).reshape(1, N // 4, 4), (4, 4, 0)),
    "vmap": (jax.vmap(lambda image: conv(image[None], 3)[0]), (3, 1, 1)),
    "loop": (loop(3), (7, 1, 3)),
    "scan": (scanned_kernels, (9, 1, 4)),
    "scan over space": (row_by_row, (1, 1, 0)),
    "counter": (counted_slices, (3, 1, 0)),
    "remat": (jax.checkpoint(lambda x: conv(jnp.sin(conv(x, 3)), 3)), (5, 1, 2)),
    "custom_vjp": (lambda x: through(conv(x, 3)), (3, 1, 1)),
    "branch taken": (lambda x: lax.cond(jnp.array(True), lambda x: conv(x, 3), lambda x: conv(x, 5), x), (3, 1, 1)),
    "barrier": (lambda x: lax.optimization_barrier((conv(x, 3), 1))[0], (3, 1, 1)),
}


def reached(f, n=N, draws=4):
    """For each index on axis 1 of the result, the pixels that its derivatives reach at several inputs."""
    jacobian = jax.jit(jax.jacrev(f))
    found = False
    for seed in range(draws):
        x = jax.random.normal(jax.random.key(seed), (1, n, 1))
        j = np.asarray(jacobian(x)) != 0
        found = found | j.any((0, *range(2, j.ndim - 3), -3, -1))
    return found


def field_of(f):
    return analysis.receptive_field(f, jax.ShapeDtypeStruct((1, N, 1), jnp.float32))


def check(f, *, equal):
    field, truth = field_of(f), reached(f)
    reads = np.broadcast_to(field.reads[0], truth.shape)
    assert not (truth & ~reads).any()
    if equal:
        np.testing.assert_array_equal(reads, truth)
    assert field.unfollowed == ()
    return field


@pytest.mark.parametrize("name", repeated(FOLLOWED, quick=20))
def test_primitives_that_keep_the_axis(name):
    f, row = FOLLOWED[name]
    field = field_of(f)
    assert (field.size[0], field.stride[0], field.padding[0]) == row
    assert (field.exact, field.selected, field.unfollowed) == ((True,), False, ())


EVERY_THIRD_FIRST = sorted(FOLLOWED, key=lambda name: [*FOLLOWED].index(name) % 3 > 0)


@pytest.mark.parametrize("name", repeated(EVERY_THIRD_FIRST, quick=len(FOLLOWED) // 3))
def test_what_they_read_is_what_derivatives_reach(name):
    check(FOLLOWED[name][0], equal=True)


# A derivative follows one winner of a maximum and one side of a rectifier, so it may reach less.
PARTLY_REACHED = {
    "max pool": (lambda x: ops.max_pool(x, 3, stride=2), (3, 2, 0)),
    "max pool of blocks": (lambda x: ops.max_pool(x, 3), (3, 3, 0)),
    "relu": (lambda x: jax.nn.relu(conv(x, 3)), (3, 1, 1)),
    "jit": (jax.jit(lambda x: jax.jit(lambda y: jnp.abs(conv(y, 3)))(x)), (3, 1, 1)),
    "straight through": (lambda x: x + lax.stop_gradient(jnp.round(conv(x, 3)) - x), (3, 1, 1)),
    "vector quantised": (lambda x: jnp.arange(5.0)[jnp.argmin(jnp.abs(x - jnp.arange(5.0)), -1)], (1, 1, 0)),
    "where": (lambda x: jnp.where(conv(x, 3) > 0, jnp.float32(1), jnp.float32(-1)), (3, 1, 1)),
}


@pytest.mark.parametrize("name", PARTLY_REACHED)
def test_what_derivatives_see_in_part(name):
    f, row = PARTLY_REACHED[name]
    with jax.numpy_rank_promotion("allow"):
        field = check(f, equal=False)
    assert (field.size[0], field.stride[0], field.padding[0]) == row
    assert (field.exact, field.selected) == ((True,), False)


def test_a_general_window_is_followed():
    def product(x):
        return lax.reduce_window(x, 1.0, lambda a, b: a * b, (1, 3, 1), (1, 1, 1), "VALID")

    field = analysis.receptive_field(product, jax.ShapeDtypeStruct((1, N, 1), jnp.float32))
    assert (field.size, field.stride, field.padding, field.exact) == ((3,), (1,), (0,), (True,))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: conv(x, 3) * (jnp.arange(N) < 8).astype(jnp.float32)[None, :, None],
        lambda x: jnp.where(jnp.arange(N)[None, :, None] < 8, conv(x, 3), jnp.float32(0)),
    ],
)
def test_units_that_a_mask_silences_make_the_span_a_bound(f):
    field = check(f, equal=True)
    assert (field.size, field.stride, field.padding, field.exact) == ((3,), (1,), (1,), (False,))
    assert field.support((8,))[0].size == 0


BOUNDED = {
    "cubic": (resize("cubic", 3 * N), (Fraction(13, 3), Fraction(1, 3), 2)),
    "up and across": (lambda x: x + deconv(ops.avg_pool(x, 2), 2, 2), (3, 1, 1)),
    "running sum": (lambda x: jnp.cumsum(x, 1), (N, 0, 0)),
    "recurrence": (recurrence, (N, 0, 0)),
    "shuffled": (lambda x: x[:, np.random.default_rng(0).permutation(N)], (N, 0, 0)),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_units_with_less_than_the_span(name):
    f, row = BOUNDED[name]
    field = check(f, equal=True)
    assert (field.size[0], field.stride[0], field.padding[0]) == row
    assert field.exact == (False,)


WHOLE = {
    "global pooling": lambda x: x.mean(1),
    "dense": lambda x: x.reshape(1, -1) @ jnp.ones((N, 3)),
    "softmax": lambda x: jax.nn.softmax(x, 1),
    "normalised": lambda x: jax.nn.standardize(x, 1),
    "fourier": low_pass,
    "sort": lambda x: jnp.sort(x, 1),
    "top k": lambda x: lax.top_k(x[..., 0], 3)[0],
    "attention": lambda x: jax.nn.dot_product_attention(*[x[:, :, None]] * 3),
    "gate": lambda x: x * jax.nn.sigmoid(x.mean(1, keepdims=True)),
    "rotated index": lambda x: jnp.take_along_axis(x, jnp.argsort(x, axis=1), axis=1),
}


@pytest.mark.parametrize("name", WHOLE)
def test_primitives_that_see_everything(name):
    field = check(WHOLE[name], equal=False)
    assert (field.size, field.stride, field.padding, field.exact) == ((N,), (0,), (0,), (True,))
    assert field.aligned == (True,)


@pytest.mark.parametrize(
    "f", [polyphase_gather, polyphase_index, polyphase_slice, polyphase_switch, polyphase_where, polyphase_mask]
)
def test_polyphase_sampling_may_read_either_phase(f):
    field = check(f, equal=True)
    assert (field.size, field.stride, field.padding) == ((2,), (2,), (0,))
    # Which phase it is depends on the whole signal.
    assert field.selected
    assert field.units == (N // 2,)


def test_a_start_that_moves_from_round_to_round_is_followed():
    def walk(x):
        padded = jnp.pad(x, ((0, 0), (0, 4), (0, 0)))

        def step(carry, _):
            start, total = carry
            return (start + 1, total + lax.dynamic_slice_in_dim(padded, start, N, 1)), None

        start = jnp.argmax(x[0, :2, 0])
        return lax.scan(step, (start, jnp.zeros_like(x)), None, length=3)[0][1]

    field = check(walk, equal=False)
    # It starts at 0 or 1 and takes three steps.
    assert (field.size, field.stride, field.padding) == ((4,), (1,), (0,))


def test_long_loops_are_no_deeper_than_short_ones():
    def spin(x):
        start = jnp.argmax(x[0, :2, 0])
        start = lax.fori_loop(0, 150, lambda i, s: lax.min(s + (i == 149).astype(s.dtype), jnp.int32(3)), start)
        return lax.dynamic_slice_in_dim(x, start, N - 4, 1)

    field = analysis.receptive_field(spin, jax.ShapeDtypeStruct((1, N, 1), jnp.float32))
    assert (field.size, field.stride, field.padding, field.selected) == ((2,), (1,), (-1,), True)


@pytest.mark.parametrize(
    ("which", "row"), [(-3, (1, 1, 0)), (0, (1, 1, 0)), (1, (3, 1, 1)), (2, (5, 1, 2)), (9, (5, 1, 2))]
)
def test_the_branch_of_a_known_switch_is_taken(which, row):
    def switch(x):
        return lax.switch(jnp.int32(which), [lambda x: x, lambda x: conv(x, 3), lambda x: conv(x, 5)], x)

    field = check(switch, equal=True)
    assert (field.size[0], field.stride[0], field.padding[0]) == row


def test_a_loop_of_unknown_length_is_followed_until_nothing_new_is_read():
    def until(x):
        return lax.while_loop(lambda y: jnp.abs(y).sum() < 5, lambda y: conv(y, 3, dilation=2), x)

    field = analysis.receptive_field(until, jax.ShapeDtypeStruct((1, N, 1), jnp.float32))
    assert (field.unfollowed, field.exact, field.selected) == (("while",), (False,), True)
    # Steps of two never reach the pixels between.
    assert [list(field.support((u,))[0] % 2) for u in (0, 5)] == [[0] * 6, [1] * 6]


def test_random_masks_do_not_count_as_positions():
    def dropout(x):
        keep = jax.random.bernoulli(jax.random.key(0), 0.1, x.shape)
        return jnp.where(keep, conv(x, 3), jnp.zeros_like(x))

    field = analysis.receptive_field(dropout, jax.ShapeDtypeStruct((1, N, 1), jnp.float32))
    assert (field.size, field.exact) == ((3,), (True,))


def test_weights_that_happen_to_be_zero_count():
    def zero(x):
        return x @ jnp.zeros((1, 4)) + ops.conv(x, jnp.zeros((3, 1, 4)))

    field = analysis.receptive_field(zero, jax.ShapeDtypeStruct((1, N, 1), jnp.float32))
    assert (field.size, field.exact) == ((3,), (True,))


def test_a_dynamic_kernel_is_part_of_what_is_read():
    def hypernetwork(x):
        return ops.conv(conv(x, 3), x.mean((0, 1))[None, :, None] * jnp.ones((3, 1, 1)))

    field = analysis.receptive_field(hypernetwork, jax.ShapeDtypeStruct((1, N, 1), jnp.float32))
    assert (field.size, field.stride, field.exact) == ((N,), (0,), (True,))
