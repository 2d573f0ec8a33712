"""Linearity: what the jaxpr shows against what is measured, case by case and for drawn functions; fact 9."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from cnnjax import InputError, analysis, models, ops
from cnnjax.analysis import Linearity
from tests.drawn_cases import drawn_cases
from tests.references.frameworks import every_framework
from tests.repeats import repeated

LINEAR, AFFINE, CONSTANT, UNKNOWN = Linearity

IMAGES = np.random.default_rng(0).random((2, 6, 6, 2)).astype(np.float32)
KERNEL = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 2, 2)), jnp.float32)
MATRIX = jnp.asarray(np.random.default_rng(2).normal(size=(6, 6)), jnp.float32)
ROW = jnp.arange(6, dtype=jnp.float32).reshape(1, 6, 1, 1) + 1


def recurrent(x, start, combine):
    """A scan down the rows; `combine` takes the state and a row."""

    def step(state, row):
        state = combine(state, row)
        return state, 2 * state

    state, rows = lax.scan(step, start, jnp.moveaxis(x, 1, 0))
    return state[:, None] + jnp.moveaxis(rows, 0, 1)


def rows_of_zeros(x):
    return jnp.zeros_like(x[:, 0])


def doubled_while_dark(x):
    def dark(state):
        i, y = state
        return (i < 3) & (y[0, 0, 0, 0] < 0.6)

    return lax.while_loop(dark, lambda state: (state[0] + 1, 2 * state[1]), (0, x))[1]


def handed_down(x):
    """A loop in whose result a constant arrives after three rounds."""
    zero = jnp.zeros_like(x)

    def step(_, state):
        _, second, third, same = state
        return second, third, jnp.ones_like(x), same

    first, *_, same = lax.fori_loop(0, 5, step, (zero, zero, zero, x))
    return first + same


def stored_statistics(x):
    return nn.BatchNorm(use_running_average=True).apply(
        {
            "params": {"scale": jnp.ones(2), "bias": jnp.ones(2)},
            "batch_stats": {"mean": jnp.ones(2), "var": jnp.ones(2)},
        },
        x,
    )


def batch_statistics(x):
    variables = {"params": {"scale": jnp.ones(2), "bias": jnp.ones(2)}, "batch_stats": {"mean": jnp.ones(2)}}
    variables["batch_stats"]["var"] = jnp.ones(2)
    return nn.BatchNorm(use_running_average=False).apply(variables, x, mutable=["batch_stats"])[0]


@jax.custom_vjp
def negative(x):
    return -x


negative.defvjp(lambda x: (-x, None), lambda _, g: (g,))

CASES = {
    "identity": (LINEAR, lambda x: x),
    "scale": (LINEAR, lambda x: -2 * x / 3),
    "conv": (LINEAR, lambda x: ops.conv(x, KERNEL, stride=2)),
    "conv groups dilation": (LINEAR, lambda x: ops.conv(x, KERNEL[:, :, :1], groups=2, dilation=2)),
    "circular": (LINEAR, lambda x: ops.conv(x, KERNEL, padding="circular")),
    "reflect": (LINEAR, lambda x: ops.conv(x, KERNEL, padding="reflect")),
    "conv_transpose": (LINEAR, lambda x: ops.conv_transpose(x, KERNEL, input_size=(12, 12), stride=2)),
    "fft": (LINEAR, lambda x: ops.fft_convolve(x, KERNEL)),
    "avg_pool": (LINEAR, lambda x: ops.avg_pool(x, 2)),
    "blur_pool": (LINEAR, lambda x: ops.blur_pool(x)),
    "rotate": (LINEAR, lambda x: ops.rotate(x, 30.0)),
    "shift": (LINEAR, lambda x: ops.shift(x, (1, -2))),
    "fourier shift": (LINEAR, lambda x: ops.fourier_shift(x, (0.5, 0.25))),
    "resize": (LINEAR, lambda x: jax.image.resize(x, (2, 9, 9, 2), "linear")),
    "matrix": (LINEAR, lambda x: jnp.einsum("ab,nbwc->nawc", MATRIX, x)),
    "rearranged": (
        LINEAR,
        lambda x: jnp.stack([x[:, ::-1, 1:-1], x.transpose(0, 2, 1, 3)[:, :, ::2][:, :, [0, 1, 1, 2]]]),
    ),
    "tiled": (LINEAR, lambda x: jnp.tile(x.reshape(2, -1, 1), (1, 2, 3))),
    "padded": (LINEAR, lambda x: jnp.pad(x, 1)[:, 1:, 1:].cumsum(1)),
    "concatenated": (LINEAR, lambda x: jnp.concatenate([x, jnp.zeros_like(x), x], 1)),
    "masked": (LINEAR, lambda x: jnp.where(ROW > 3, x, 0.0)),
    "written": (LINEAR, lambda x: x.at[:, 0].set(0.0).at[:, 1].add(x[:, 2]).at[:, 3].set(x[:, 4])),
    "taken": (LINEAR, lambda x: jnp.take(x, np.array([0, 3, -1]), axis=1)),
    "gathered": (LINEAR, lambda x: x[:, np.array([0, 5, 2])]),
    "bfloat16 and back": (LINEAR, lambda x: x.astype(jnp.bfloat16).astype(jnp.float32)),
    "zero bias": (LINEAR, lambda x: ops.conv(x, KERNEL) + jnp.zeros((1, 1, 1, 2))),
    "nested": (LINEAR, lambda x: jax.jit(jax.checkpoint(lambda x: negative(x) + 2 * x))(x)),
    "scan": (LINEAR, lambda x: recurrent(x, rows_of_zeros(x), lambda h, r: h * 0.5 + r)),
    "scan of products with its own rows": (
        LINEAR,
        lambda x: recurrent(x, x[:, 0], lambda h, r: h - r @ MATRIX[:2, :2]),
    ),
    "fori": (LINEAR, lambda x: lax.fori_loop(0, 3, lambda i, y: y @ MATRIX[:2, :2] + x, x)),
    "while": (LINEAR, lambda x: lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, 2 * s[1]), (0, x))[1]),
    "cond": (LINEAR, lambda x: lax.cond(MATRIX[0, 0] > 0, lambda y: 2 * y, lambda y: -y, x)),
    "the branch taken": (LINEAR, lambda x: lax.cond(MATRIX[0, 0] > 99, jnp.exp, lambda y: -y, x)),
    "derivative": (LINEAR, lambda x: jax.jvp(lambda y: ops.conv(y, KERNEL), (x,), (x,))[1]),
    "of zero": (LINEAR, lambda x: jnp.zeros_like(x)),
    "cancelled": (LINEAR, lambda x: 0 * x),
    "bias": (AFFINE, lambda x: ops.conv(x, KERNEL) + 0.5),
    "padded with ones": (AFFINE, lambda x: jnp.pad(x, 1, constant_values=1.0)),
    "stored statistics": (AFFINE, stored_statistics),
    "ones beside": (AFFINE, lambda x: jnp.concatenate([x, jnp.ones_like(x)], -1)),
    "masked by ones": (AFFINE, lambda x: jnp.where(ROW > 3, x, 1.0)),
    "scan from ones": (AFFINE, lambda x: recurrent(x, rows_of_zeros(x) + 1, lambda h, r: h * 0.5 + r)),
    "scan that adds": (AFFINE, lambda x: recurrent(x, rows_of_zeros(x), lambda h, r: h * 0.5 + r + 1)),
    "handed down": (AFFINE, handed_down),
    "ones": (CONSTANT, lambda x: jnp.ones_like(x)),
    "scan of constants": (
        CONSTANT,
        lambda x: recurrent(0 * x.shape[0] + jnp.ones((2, 6, 6, 2)), jnp.ones((2, 6, 2)), jnp.add),
    ),
    "relu": (UNKNOWN, jax.nn.relu),
    "maximum": (UNKNOWN, lambda x: jnp.maximum(x - 0.5, 0)),
    "max_pool": (UNKNOWN, lambda x: ops.max_pool(x, 2)),
    "polyphase": (UNKNOWN, lambda x: ops.polyphase_pool(x)),
    "product": (UNKNOWN, lambda x: x * x[:, ::-1]),
    "quotient": (UNKNOWN, lambda x: 1 / (4 + jnp.abs(x))),
    "attention": (UNKNOWN, lambda x: jnp.einsum("nhwc,nhvc->nhwv", x, x)),
    "batch statistics": (UNKNOWN, batch_statistics),
    "rounded": (UNKNOWN, lambda x: (4 * x).astype(jnp.int32).astype(jnp.float32)),
    "chosen by a pixel": (UNKNOWN, lambda x: jnp.where(x > 0.5, x, -x)),
    "index by a pixel": (UNKNOWN, lambda x: lax.dynamic_slice(x, (0, jnp.argmax(x[0, :, 0, 0]), 0, 0), (2, 1, 6, 2))),
    "branch by a pixel": (UNKNOWN, lambda x: lax.cond(x[0, 0, 0, 0] > 0.3, lambda y: y, lambda y: -3 * y, x)),
    "rounds by a pixel": (UNKNOWN, lambda x: lax.while_loop(lambda y: y.sum() < 200, lambda y: 2 * abs(y) + 1, x)),
    "linear rounds by a pixel": (UNKNOWN, doubled_while_dark),
    "scan of squares": (UNKNOWN, lambda x: recurrent(x, x[:, 0], lambda h, r: h * r)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_jaxpr_shows(name):
    expected, f = CASES[name]
    assert analysis.is_linear(f, IMAGES) is expected


@pytest.mark.parametrize("third", repeated(range(3)))
def test_it_is_what_is_measured(third):
    cases = {name: CASES[name] for name in [*CASES][third::3]}
    # In one program: a compilation for each takes longer.
    measured = analysis.linearity_error(lambda x: {name: f(x) for name, (_, f) in cases.items()}, IMAGES)
    for name, (expected, _) in cases.items():
        error, rounding = measured[name], 1e-2 if "bfloat16" in name else 1e-5
        assert (max(error.additivity, error.homogeneity) < rounding) == (expected is LINEAR), name
        assert (error.affine < rounding) == (expected is not UNKNOWN), name


def test_only_linear_counts_as_true():
    assert [bool(kind) for kind in Linearity] == [True, False, False, False]
    assert Linearity.AFFINE == "affine"


def test_what_cannot_be_told_is_unknown_not_denied():
    assert analysis.is_linear(lambda x: jnp.maximum(x, -x) - jnp.abs(x), IMAGES) is UNKNOWN
    # The fill beyond the array is NaN, which no linear function gives.
    assert analysis.is_linear(lambda x: jnp.take(x, np.array([0, 7]), axis=1), IMAGES) is AFFINE
    assert analysis.is_linear(lambda x: jnp.take(x, np.array([7]), axis=1, mode="fill", fill_value=0), IMAGES) is LINEAR
    # Bound outside, a bias has a value; inside a program that is compiled for any bias, it has none.
    found = []

    @jax.jit
    def trained(bias):
        found.append(analysis.is_linear(lambda x: x + bias, jax.ShapeDtypeStruct((1, 4, 4, 1), jnp.float32)))
        return bias

    trained(jnp.zeros(()))
    assert found == [AFFINE]
    assert analysis.is_linear(lambda x: x + jnp.zeros(()), jax.ShapeDtypeStruct((1, 4, 4, 1), jnp.float32)) is LINEAR


STEPS = {
    "conv": lambda x: ops.conv(x, KERNEL),
    "flip": lambda x: x[:, ::-1] - 0.3 * x,
    "mix": lambda x: x @ MATRIX[:2, :2],
    "mean": lambda x: x - x.mean((1, 2), keepdims=True),
    "loop": lambda x: lax.fori_loop(0, 2, lambda _, y: 0.5 * y + x, jnp.zeros_like(x)),
    "bias": lambda x: x + jnp.array([1.0, -2.0]).reshape(1, 1, 1, 2),
    "relu": jax.nn.relu,
    "gate": lambda x: x * x.mean(),
}


@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4))
@drawn_cases(12)
def test_drawn_functions(names):
    def f(x):
        outputs = [x]
        for name in names:
            outputs.append(STEPS[name](outputs[-1]))
        return outputs[1:]

    shown, measured = analysis.is_linear(f, IMAGES), analysis.linearity_error(f, IMAGES)
    for i, (kind, error) in enumerate(zip(shown, measured, strict=True), 1):
        curved, shifted = {"relu", "gate"} & set(names[:i]), "bias" in names[:i]
        assert kind is (UNKNOWN if curved else AFFINE if shifted else LINEAR)
        if kind is not UNKNOWN:
            assert error.affine < 1e-4
        if kind is LINEAR:
            assert max(error.additivity, error.homogeneity) < 1e-4


def test_errors_by_hand():
    def square(x):
        return x**2

    pixels = np.full((1, 1, 1, 1), 3.0, np.float32)
    with jax.enable_x64(True):
        error = analysis.linearity_error(square, pixels.astype(np.float64))
    # All images are alike, so that y = x = 3: |36 − 18| / (36 + 18). With g = f: |(a + b)² − a − b| over the sum.
    assert error.additivity == pytest.approx(18 / 54, rel=1e-12)
    _, factors = jax.random.split(jax.random.key(0))
    with jax.enable_x64(True):
        a, b = np.asarray(jax.random.uniform(factors, (2,), jnp.float64, 0.5, 2.0)) * [-1, 1]
    assert error.homogeneity == pytest.approx(abs(a * a - a) / (a * a + abs(a)), rel=1e-12)
    assert error.affine == pytest.approx(abs((a + b) ** 2 - a - b) / ((a + b) ** 2 + abs(a) + b), rel=1e-12)


def test_a_linear_function_in_double_precision():
    with jax.enable_x64(True):
        kernel = jnp.asarray(KERNEL, jnp.float64)
        images = IMAGES.astype(np.float64)
        error = analysis.linearity_error(lambda x: ops.conv(x, kernel) + 3, images, key=jax.random.key(5))
        again = analysis.linearity_error(lambda x: ops.conv(x, kernel), images, key=jax.random.key(6))
    assert error.affine < 1e-12 < 1e-2 < min(error.additivity, error.homogeneity)
    assert max(again.additivity, again.homogeneity, again.affine) < 1e-12


def test_nothing_is_linear():
    error = analysis.linearity_error(jnp.zeros_like, IMAGES)
    assert (error.additivity, error.homogeneity, error.affine) == (0, 0, 0)


SIGNAL = st.integers(1, 3).flatmap(
    lambda n: st.lists(st.integers(-3, 3), min_size=n, max_size=n).map(
        lambda values: jnp.array(values, jnp.float32).reshape(1, n, 1)
    )
)


def kernel_of(signal):
    return signal.reshape(-1, 1, 1)


@given(SIGNAL, SIGNAL, SIGNAL)
@drawn_cases(15)
def test_convolution_is_linear_commutative_and_associative(a, b, c):
    # Fact 9. Whole numbers: the sums are exact.
    convolve = functools.partial(ops.convolve, padding="full")
    ab = convolve(a, kernel_of(b))
    np.testing.assert_array_equal(ab, convolve(b, kernel_of(a)))
    np.testing.assert_array_equal(ab.ravel(), np.convolve(a.ravel(), b.ravel()))
    np.testing.assert_array_equal(convolve(ab, kernel_of(c)), convolve(a, kernel_of(convolve(b, kernel_of(c)))))
    # Cross-correlation the other way about is mirrored: it commutes for those signals alone whose result is even.
    correlate = functools.partial(ops.conv, padding="full")
    there, back = correlate(a, kernel_of(b)).ravel(), correlate(b, kernel_of(a)).ravel()
    np.testing.assert_array_equal(there, back[::-1])


def test_cross_correlation_is_not_commutative_but_linear_in_each_argument():
    # Fact 9.
    a, b = jnp.array([1.0, 2.0]).reshape(1, 2, 1), jnp.array([0.0, 1.0]).reshape(1, 2, 1)
    for convolution, commutes in ((ops.conv, False), (ops.convolve, True)):
        both = [convolution(x, kernel_of(y), padding="full").ravel() for x, y in ((a, b), (b, a))]
        assert bool((both[0] == both[1]).all()) == commutes
        assert analysis.is_linear(lambda x, c=convolution: c(x, kernel_of(b), padding="full"), a)
        assert analysis.is_linear(lambda y, c=convolution: c(a, kernel_of(y), padding="full"), b)
        assert analysis.is_linear(lambda x, c=convolution: c(x, kernel_of(x), padding="full"), a) is UNKNOWN


@every_framework
def test_every_framework_gives_the_same(make):
    network = make()
    images = IMAGES[..., :1]
    assert jax.tree.leaves(analysis.is_linear(network, images)) == [UNKNOWN, UNKNOWN]
    hidden = jax.tree.leaves(analysis.linearity_error(network, images))
    assert all(error.affine > 1e-2 for error in hidden)


def test_a_model_is_traced_not_run():
    model = models.resnet20(num_classes=3)
    struct = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.tree.map(
        lambda a: jnp.ones(a.shape, a.dtype), jax.eval_shape(model.init, jax.random.key(0), struct)
    )
    logits, activations = analysis.is_linear(functools.partial(model.apply, variables), struct)
    assert {logits, *activations.values()} == {UNKNOWN}


@pytest.mark.parametrize("measure", [analysis.is_linear, analysis.linearity_error])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[:0], "empty"),
        (IMAGES[0, 0], "expected"),
        ((9 * IMAGES).astype(np.uint8), "uint8"),
    ],
)
def test_images_that_are_none_are_refused(measure, images, message):
    with pytest.raises(InputError, match=message):
        measure(lambda x: x, images)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite_cannot_be_measured(value):
    images = IMAGES.copy()
    images[0, 0] = value
    with pytest.raises(InputError, match="contain NaN or infinity"):
        analysis.linearity_error(lambda x: x, images)


def test_activations_that_are_not_finite_are_named():
    with pytest.raises(InputError, match="activation log is not finite"):
        analysis.linearity_error(lambda x: {"log": jnp.log(x)}, IMAGES)


def test_noise_that_a_function_draws_itself_is_a_constant():
    def noisy(x):
        key = jax.random.key(0)
        mask = jax.random.bernoulli(key, 0.5, x.shape).astype(x.dtype)
        return {"added": x + jax.random.normal(key, x.shape), "dropped": x * mask}

    assert analysis.is_linear(noisy, jnp.ones((2, 4, 4, 1))) == {"added": "affine", "dropped": "linear"}
