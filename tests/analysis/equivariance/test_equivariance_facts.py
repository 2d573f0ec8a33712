"""Exact facts of equivariance and invariance, on networks: each measured by `equivariance_error` or `consistency`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cnnjax import analysis, models, ops
from cnnjax.analysis import Flip, Rotation, Shift
from tests.drawn_cases import drawn_cases
from tests.repeats import repeated

PRECISION = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float64, 1e-12), pytest.param(np.float32, 1e-5, marks=pytest.mark.slow)]
)
DOWNSAMPLERS = ("stride", "max", "average", "blur", "max_blur", "polyphase")


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def draw(*shape):
    """Uniform values in [0, 1], the same for the same shape."""
    return np.random.default_rng(0).random(shape)


def images(side, dtype=np.float64, channels=1):
    return draw(1, side, side, channels).astype(dtype)


def forward(model, x):
    """The model with kernels of variance 2 / fan in and all else above 1/2, as a function of images."""
    leaves, tree = jax.tree.flatten(jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(x)))
    random = np.random.default_rng(1)
    drawn = [random.normal(size=leaf.shape) for leaf in leaves]
    drawn = [d * np.sqrt(2 / np.prod(d.shape[:-1])) if d.ndim > 1 else np.abs(d) / 2 + 0.5 for d in drawn]
    values = [jnp.asarray(d, leaf.dtype) for d, leaf in zip(drawn, leaves, strict=True)]
    return jax.tree_util.Partial(model.apply, jax.tree.unflatten(tree, values))


def network(x, *, make=models.ResNet, **fields):
    """A network of two stages, the second of half the size unless `factors` say more."""
    model = make(num_classes=3, widths=(4, 6), depth=1, dtype=x.dtype.type, **fields)
    return forward(model, x)


def worst(errors):
    return max(jax.tree.leaves(errors))


def with_logits_alone(f, x):
    return f(x)[0], x


def logits_error(f, x, transform):
    """Of the logits alone, for a program that is quick to compile; the images themselves are the map."""
    return analysis.equivariance_error(jax.tree_util.Partial(with_logits_alone, f), x, transform)[0]


class TestCircularPaddingAndShiftsByTheTotalStride:
    @pytest.mark.parametrize(
        ("downsample", "dtype", "tolerance"),
        repeated(
            [("max_blur", np.float32, 1e-5), *((name, np.float64, 1e-12) for name in reversed(DOWNSAMPLERS))], quick=3
        ),
    )
    def test_are_exact_for_any_downsampler(self, downsample, dtype, tolerance):
        x = images(12, dtype)
        f = network(x, padding="circular", downsample=downsample, factors=(2, 2))
        errors = analysis.equivariance_error(f, x, Shift((4, -8), fill="circular"))
        assert worst(errors) < tolerance
        assert worst(analysis.equivariance_error(f, x, Shift((1, 2), fill="circular"))) > 0.01


class TestStride1:
    @PRECISION
    def test_with_circular_padding_is_exact_for_every_shift(self, dtype, tolerance):
        x = images(9, dtype)
        f = network(x, padding="circular", factors=(1, 1))
        for offset in [(0, 1), (-8, 4)]:
            assert worst(analysis.equivariance_error(f, x, Shift(offset, fill="circular"))) < tolerance, offset

    def test_with_zero_padding_leaves_the_border_alone(self):
        x = images(16)
        f = network(x, padding="same", factors=(1, 1))
        logits, _ = analysis.shift_terms(f, x, Shift((0, 3), fill="circular"))
        assert logits.aliasing < 1e-12
        assert logits.border == pytest.approx(logits.total, rel=1e-12)
        assert 1e-4 < logits.total < 1e-1


class TestAdaptivePolyphaseSampling:
    @PRECISION
    def test_is_exact_for_every_shift_if_circular_and_divisible(self, dtype, tolerance):
        x = images(8, dtype)
        f = network(x, padding="circular", downsample="polyphase", factors=(2, 2))
        for offset in [(0, 1), (3, -2), (-5, 7)]:
            assert logits_error(f, x, Shift(offset, fill="circular")) < tolerance, offset

    @pytest.mark.parametrize(("side", "padding"), repeated([(10, "circular"), (8, "same")]))
    def test_is_not_otherwise(self, side, padding):
        x = images(side)
        f = network(x, padding=padding, downsample="polyphase", factors=(2, 2))
        assert max(logits_error(f, x, Shift(offset, fill="circular")) for offset in [(1, 0), (3, 2)]) > 1e-3


@PRECISION
def test_a_blur_keeps_the_mean_and_adds_no_error_of_shift(dtype, tolerance):
    x = images(8, dtype)

    @jax.tree_util.Partial
    def f(x):
        blurred = [ops.blur_pool(x, taps=taps, stride=2, padding="circular") for taps in (2, 3, 5, 7)]
        maps = [*blurred, x[:, ::2, ::2]]
        return maps, [ops.global_avg_pool(y) for y in maps]

    for offset in [(1, 0), (3, 2), (-1, 5)]:
        _, (*pooled, strided) = analysis.equivariance_error(f, x, Shift(offset, fill="circular"))
        assert max(pooled) < tolerance
        assert strided > 1e-3


def symmetric(kernel):
    poses = [np.rot90(k, turns) for k in (kernel, kernel[:, ::-1]) for turns in range(4)]
    return np.mean(poses, 0)


@given(
    n=st.integers(4, 12),
    k=st.integers(1, 5),
    p=st.integers(0, 2),
    s=st.integers(1, 3),
    transform=st.sampled_from([Rotation(90), Rotation(180), Rotation(270), Flip("width"), Flip("height")]),
)
@drawn_cases(12)
def test_symmetric_kernels_commute_with_turns_and_flips_where_windows_fill_the_map(n, k, p, s, transform):
    p = min(p, k - 1)
    kernel = jnp.asarray(symmetric(np.random.default_rng(k).normal(size=(k, k, 1, 1))))

    def f(x):
        return ops.conv(x, kernel, stride=s, padding=p)

    assume(n + 2 * p - k >= s)  # a single unit has no place
    error = analysis.equivariance_error(f, images(n), transform)
    assert error < 1e-12 if (n + 2 * p - k) % s == 0 else error > 1e-3


@pytest.mark.parametrize("side", repeated([28, 32]))
@pytest.mark.parametrize(("k", "p", "exact"), [(3, 1, False), (2, 0, True), (4, 1, True)])
def test_usual_downsampling_on_usual_sizes(side, k, p, exact):
    def f(x):
        y = ops.conv(x, jnp.ones((k, k, 1, 1)), stride=2, padding=p)
        return y, ops.max_pool(x, k, stride=2, padding=p)

    for transform in (Rotation(90), Flip("width")):
        errors = analysis.equivariance_error(f, images(side), transform)
        assert worst(errors) < 1e-12 if exact else min(errors) > 1e-2


class TestGroupConvolution:
    @pytest.mark.parametrize(
        ("group", "transforms", "dtype", "tolerance"),
        repeated(
            [
                ("p4m", [Rotation(270, group="p4m"), Flip("height", group="p4m")], np.float64, 1e-12),
                ("p4", [Rotation(90, group="p4"), Rotation(180, group="p4")], np.float64, 1e-12),
                ("p4", [Rotation(270, group="p4")], np.float32, 1e-5),
                ("p4m", [Flip("width", group="p4m")], np.float32, 1e-5),
            ]
        ),
    )
    def test_is_exact_for_its_group(self, group, transforms, dtype, tolerance):
        x = images(8, dtype)
        f = network(x, make=models.group_resnet, group=group)
        maps = analysis.receptive_field(f, x)[1]
        for transform in transforms:
            logits, errors = analysis.equivariance_error(f, x, transform)
            assert logits < tolerance
            assert max(errors.values()) < tolerance
            assert errors.keys() == maps.keys()

    def test_is_not_where_windows_miss_a_border(self):
        x = images(8)
        f = network(x, make=models.group_resnet, downsample="stride", shortcut="B", exact=False)
        assert logits_error(f, x, Rotation(90, group="p4")) > 1e-3

    def test_maps_that_do_not_exchange_orientations_are_not_equivariant(self):
        kernel = jnp.asarray(draw(3, 3, 1, 2) - 0.5)

        def f(x):
            return ops.lifting_conv(x, kernel, group="p4")

        def channels(x):
            return f(x).reshape(1, 6, 6, -1)

        assert analysis.equivariance_error(f, images(6), Rotation(90, group="p4")) < 1e-12
        assert analysis.equivariance_error(channels, images(6), Rotation(90)) > 0.1

    def test_of_eight_orientations_turns_by_45_degrees_as_the_group_does(self):
        kernel, x = jnp.asarray(draw(3, 3, 1, 2) - 0.5), jnp.asarray(images(7))

        def f(x):
            return ops.lifting_conv(x, kernel, group="p8_approximate")

        @jax.jit
        def both(x):
            turned = ops.group_action(f(x), 3, group="p8_approximate")
            return turned, f(ops.group_action(x, 3, group="p8_approximate"))

        turned, of_turned = map(np.asarray, both(x))
        expected = np.linalg.norm(of_turned - turned) / np.linalg.norm(turned)
        error = analysis.equivariance_error(f, x, Rotation(135, order=3, group="p8_approximate"))
        assert error == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("dtype", "offset"),
    repeated([(np.float32, (2, -8)), (np.float64, (-4, 8)), (np.float32, (4, 0)), (np.float64, (0, 1))], quick=2),
)
def test_valid_features_of_one_content_are_equal_to_the_last_bit(offset, dtype):
    """Integers, so that no order of summation rounds; a margin, so that the field of what is not 0 stays inside."""
    x = np.zeros((2, 36, 36, 1), dtype)
    random = np.random.default_rng(0)
    x[:, 14:22, 14:22] = random.integers(0, 9, size=(2, 8, 8, 1))
    kernels = [jnp.asarray(random.integers(-3, 4, size=(3, 3, 1, 1)), dtype) for _ in range(3)]

    def f(x):
        layers = {}
        for i, (kernel, stride) in enumerate(zip(kernels, (1, 2, 2), strict=True)):
            x = layers[f"conv{i}"] = jnp.abs(ops.conv(x, kernel, stride=stride, padding="valid"))
        return layers

    errors = analysis.equivariance_error(f, x, Shift(offset, fill="zero"))
    for (name, error), stride in zip(errors.items(), (1, 2, 4), strict=True):
        whole = all(d % stride == 0 for d in offset)
        assert error == 0 if whole else error > 1e-3, name


@PRECISION
def test_convolution_is_linear_and_its_order_makes_no_difference(dtype, tolerance):
    first, second = (jnp.asarray(draw(k, k, 1, 1) - 0.5, dtype) for k in (3, 5))
    x = images(10, dtype)

    def full(x, *kernels):
        return functools.reduce(lambda x, kernel: ops.convolve(x, kernel, padding="full"), kernels, x)

    def f(x):
        return full(x, first, second)

    transform = Shift((2, -3), fill="zero")
    error = analysis.equivariance_error(f, x, transform)
    assert error > 0.01
    other = analysis.equivariance_error(lambda x: full(x, second, first), x, transform)
    assert other == pytest.approx(error, rel=tolerance)
    # Of a linear function the error is linear, and so is its ratio unchanged by a factor; not of one with a bias.
    factor = dtype(-3)
    assert analysis.equivariance_error(f, factor * x, transform) == pytest.approx(error, rel=tolerance)
    biased = [analysis.equivariance_error(lambda x: f(x) + 1, z, transform) for z in (x, factor * x)]
    assert abs(biased[0] - biased[1]) > 1e-3


READS = {
    "place": lambda x: x[:, 0, 0, 0],
    "sum": lambda x: x.sum((1, 2, 3)),
    "row": lambda x: x[:, 0].sum((1, 2)),
    "phase": lambda x: x[:, ::2, ::2].sum((1, 2, 3)),
}


def classifier(read):
    """Class 0 where more than 2 is read."""

    def classify(x):
        value = read(x)
        return jnp.stack([value, jnp.full_like(value, 2)], -1)

    return jax.tree_util.Partial(classify)


CLASSIFIERS = {name: classifier(read) for name, read in READS.items()}


@given(seed=st.integers(0, 2**16), axis=st.sampled_from(list(READS)))
@drawn_cases(20)
def test_consistency_is_1_exactly_when_the_prediction_is_constant_over_the_orbit(seed, axis):
    """Integer pixels and logits, so that sums are exact; whole orbits, written out in NumPy."""
    x = np.random.default_rng(seed).integers(0, 3, size=(2, 4, 4, 1)).astype(np.float32)
    classify = CLASSIFIERS[axis]
    orbit = analysis.shifts(1, fill="circular")
    classes = np.stack(
        [
            np.argmax([READS[axis](np.roll(x, (dy, dx), (1, 2))), np.full(2, 2)], 0)
            for dy in (0, 1, -1)
            for dx in (0, 1, -1)
        ]
    )
    score = analysis.consistency(classify, x, orbit)["consistency"].mean
    constant = (classes == classes[:1]).all()
    assert (score == 1) == constant
    assert score == pytest.approx((classes[1:] == classes[:1]).mean(), abs=1e-6)
    if axis == "sum":
        assert constant
