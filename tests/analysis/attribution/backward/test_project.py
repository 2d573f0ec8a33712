"""Projections against the deconvnet built layer by layer from `ops`, and against what is known of them exactly."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, models, ops
from cnnjax.analysis import Projector, project, receptive_field
from tests.references.deconvnet import Convolution, MaxPool, Rectifier, Scale, deconvnet
from tests.repeats import repeated

RULES = ("gradient", "deconvnet", "guided")


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def image_of(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def kernel(*shape, seed=0):
    return jnp.asarray(normal(*shape, seed=seed) / np.sqrt(np.prod(shape[:-1])))


def bias(features, seed=0):
    return jnp.asarray(0.1 * normal(features, seed=seed))


def function_of(layers):
    """The same network as a function: ops and `jax.nn.relu`, nothing of what knows the way back."""

    def f(images):
        x = images
        for layer in layers:
            match layer:
                case Convolution():
                    x = ops.conv(x, layer.kernel, stride=layer.stride, padding=layer.padding, groups=layer.groups)
                    x = x if layer.bias is None else x + layer.bias[None, None, None]
                case Scale():
                    x = x * layer.scale[None, None, None] + layer.shift[None, None, None]
                case Rectifier():
                    x = jax.nn.relu(x)
                case MaxPool():
                    x = ops.max_pool(x, layer.window, stride=layer.stride, padding=layer.padding)
        return x

    return f


def alexnet_like(first_pool, second_pool):
    return [
        Convolution(kernel(5, 5, 3, 6, seed=1), bias(6, seed=1), stride=2, padding=2),
        Rectifier(),
        first_pool,
        Convolution(kernel(3, 3, 3, 8, seed=2), bias(8, seed=2), groups=2),
        Rectifier(),
        second_pool,
        Convolution(kernel(3, 3, 8, 5, seed=3), bias(5, seed=3)),
        Rectifier(),
    ]


with jax.enable_x64(True):
    ALL_CONV = [
        Convolution(kernel(3, 3, 3, 6, seed=1)),
        Scale(jnp.asarray(normal(6, seed=5)), bias(6, seed=6)),
        Rectifier(),
        Convolution(kernel(3, 3, 6, 6, seed=2), stride=2),
        Scale(jnp.asarray(normal(6, seed=7)), bias(6, seed=8)),
        Rectifier(),
        Convolution(kernel(1, 1, 6, 4, seed=3)),
        Rectifier(),
    ]
    OVERLAPPING = alexnet_like(MaxPool(3, 2), MaxPool(2))
    CHAINS = {
        "pools of 3×3/2 and 2×2": OVERLAPPING,
        "pools of 3×3/2, padded": alexnet_like(MaxPool(3, 2, 1), None)[:5],
        "all convolutional": ALL_CONV,
    }
    # Compiled once for all tests.
    FIRST_LAYERS = jax.tree_util.Partial(function_of(OVERLAPPING[:5]))
IMAGE = image_of(31, 27, 3)


@functools.cache
def projected(chain):
    return project(function_of(CHAINS[chain]), IMAGE)


def cosine(a, b):
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize("chain", repeated(CHAINS))
def test_the_same_layer_by_layer(chain):
    layers = CHAINS[chain]
    found, expected = projected(chain), deconvnet(layers, IMAGE)
    assert found.pictures.dtype == np.float64
    assert (found.values > 0).sum() >= 3
    np.testing.assert_array_equal(found.units, expected.units)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-12)
    scale = np.abs(expected.pictures).max()
    np.testing.assert_allclose(found.pictures, expected.pictures, rtol=0, atol=1e-12 * scale)
    assert (found.pictures < 0).any()


def test_windows_that_overlap_add_up():
    """Other rules than the derivative's give other pictures where windows overlap, and the same where they do not.

    Whoever chooses one gets the same from the network as a function as layer by layer.
    """
    for pool, rules in ((MaxPool(3, 2), ("overwrite", "max")), (MaxPool(2), ("overwrite",))):
        layers = alexnet_like(pool, None)[:5]
        added, *others = (deconvnet(layers, IMAGE, overlap=rule).pictures for rule in ("add", *rules))
        for rule, other in zip(rules, others, strict=True):
            if pool.stride is not None:
                found = project(function_of(layers), IMAGE, overlap=rule).pictures
                np.testing.assert_allclose(found, other, rtol=0, atol=1e-12 * np.abs(other).max())
            cosines = [cosine(a, b) for a, b in zip(added, other, strict=True) if a.any()]
            assert len(cosines) >= 3
            assert min(cosines) > 1 - 1e-12 if pool.stride is None else min(cosines) < 0.95


def test_what_the_paper_does_not_do_gives_other_pictures():
    """Kernels transposed in place of flipped, a bias on the way down, no rectifier: none is close to the picture."""

    class Turned(Convolution):
        def down(self, signal, memory, overlap):
            turned = Convolution(self.kernel.swapaxes(0, 1), None, self.stride, self.padding, self.groups)
            return turned.down(signal, memory, overlap)

    class Biased(Convolution):
        def down(self, signal, memory, overlap):
            return super().down(signal + self.bias[None, None, None], memory, overlap)

    class Forgetful(Rectifier):
        def down(self, signal, memory, overlap):
            return signal

    class RectifiedFirst(MaxPool):
        def down(self, signal, memory, overlap):
            return super().down(jnp.maximum(signal, jnp.zeros_like(signal)), memory, overlap)

    def changed(convolution, rectifier, pool=MaxPool):
        def change(layer):
            match layer:
                case Convolution():
                    return convolution(layer.kernel, layer.bias, layer.stride, layer.padding, layer.groups)
                case Rectifier():
                    return rectifier()
                case MaxPool():
                    return pool(layer.window, layer.stride, layer.padding)

        return [change(layer) for layer in OVERLAPPING]

    right = projected("pools of 3×3/2 and 2×2").pictures
    for mistake, limit in (((Turned, Rectifier), 0.7), ((Biased, Rectifier), 0.9), ((Convolution, Forgetful), 0.7)):
        wrong = deconvnet(changed(*mistake), IMAGE).pictures
        assert np.mean([cosine(a, b) for a, b in zip(right, wrong, strict=True) if a.any()]) < limit, mistake
    # Rectified before windows that overlap add up in place of after, it is close, and another picture.
    early = deconvnet(changed(Convolution, Rectifier, RectifiedFirst), IMAGE).pictures
    assert 0.8 < np.mean([cosine(a, b) for a, b in zip(right, early, strict=True) if a.any()]) < 0.999
    same = deconvnet(changed(Convolution, Rectifier), IMAGE).pictures
    np.testing.assert_allclose(right, same, rtol=0, atol=1e-12 * np.abs(right).max())


@pytest.mark.parametrize("rule", repeated(reversed(RULES)))
def test_positively_homogeneous(rule):
    *layers, last = ALL_CONV[:4]

    def f(kernel, images):
        return function_of([*layers, Convolution(kernel, stride=2), Rectifier()])(images)

    # A kernel three times as large makes the last activation, and its signal, three times as large.
    a, b = (project(jax.tree_util.Partial(f, k), IMAGE, rule=rule) for k in (last.kernel, 3 * last.kernel))
    np.testing.assert_array_equal(a.units, b.units)
    np.testing.assert_allclose(b.values, 3 * a.values, rtol=1e-12)
    # One factor of the activation, one of the kernel on the way down.
    np.testing.assert_allclose(b.pictures, 9 * a.pictures, rtol=1e-9, atol=1e-12 * np.abs(b.pictures).max())


def test_captums_fixture():
    """The network and the matrices of captum's own tests of both rules: 3×3 kernels of ones, two maps, a dense unit."""
    dense = jnp.asarray([1.0] * 5 + [-1.0] * 3)[:, None]

    def f(x):
        x = jax.nn.relu(
            ops.conv(x, jnp.ones((3, 3, 1, 2)), padding="valid") - jnp.asarray([50.0, 75.0])[None, None, None]
        )
        # PyTorch flattens one map after the other.
        return jax.nn.relu(x.transpose(0, 3, 1, 2).reshape(len(x), -1) @ dense)

    image = np.arange(16.0).reshape(4, 4, 1)
    for rule, expected in {
        "deconvnet": [[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]],
        "guided": [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]],
    }.items():
        found = project(f, image, unit=0, rule=rule, value_range=None)
        assert found.values[0] == 4 + 31 + 40 - 6 - 15
        np.testing.assert_array_equal(found.pictures[0, ..., 0], found.values[0] * np.asarray(expected))


def test_nothing_outside_the_receptive_field():
    f = FIRST_LAYERS
    units = [(i, j, c) for i, j in ((0, 0), (1, 2)) for c in range(5)]
    field = receptive_field(f, IMAGE[None])
    found = project(f, IMAGE, unit=units)
    seen = 0
    for unit, picture, value in zip(units, found.pictures, found.values, strict=True):
        (top, bottom), (left, right) = field.clipped_span(unit[:2])
        outside = picture.copy()
        outside[top : bottom + 1, left : right + 1] = 0
        assert not outside.any()
        assert bool(picture.any()) == bool(value)
        seen += bool(value)
    assert seen >= 2


@pytest.mark.parametrize("rule", repeated(RULES, quick=2))
def test_of_one_layer_the_picture_is_the_filter(rule):
    weights = kernel(3, 3, 2, 4)
    image = image_of(7, 7, 2)
    f = function_of([Convolution(weights, jnp.full(4, 2.0), padding="valid"), Rectifier()])
    found = project(f, image, unit=[(1, 2, 3), (4, 0, 1)], rule=rule)
    for (row, column, channel), value, picture in zip(found.units, found.values, found.pictures, strict=True):
        patch = image[row : row + 3, column : column + 3]
        np.testing.assert_allclose(value, (patch * weights[..., channel]).sum() + 2, rtol=1e-12)
        expected = np.zeros_like(image)
        expected[row : row + 3, column : column + 3] = value * weights[..., channel]
        np.testing.assert_allclose(picture, expected, rtol=0, atol=1e-12)


def test_with_positive_weights_the_rules_agree():
    layers = [positive(layer) if isinstance(layer, Convolution) else layer for layer in OVERLAPPING[:5]]
    pictures = [project(function_of(layers), IMAGE, rule=rule).pictures for rule in RULES]
    assert (pictures[0] > 0).any()
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def positive(layer):
    return Convolution(jnp.abs(layer.kernel), jnp.abs(layer.bias), layer.stride, layer.padding, layer.groups)


def test_ties_go_to_the_first():
    """Of a constant image every position of every window is a maximum; the first in row-major order gets all."""
    image = np.full((6, 6, 1), 0.5)
    for pool, window, stride in ((MaxPool(2), 2, 2), (MaxPool(3, 2), 3, 2)):
        f = function_of([Convolution(jnp.ones((1, 1, 1, 1))), Rectifier(), pool])
        size = (6 - window) // stride + 1
        units = [(i, j, 0) for i in range(size) for j in range(size)]
        for unit, picture in zip(units, project(f, image, unit=units).pictures, strict=True):
            expected = np.zeros((6, 6, 1))
            expected[unit[0] * stride, unit[1] * stride] = 0.5
            np.testing.assert_array_equal(picture, expected)
    # A window that a rectifier has made all zeros is tied, too, and carries a signal of the deconvnet.
    for pool in (lambda x: ops.max_pool(x, 3, stride=2), lambda x: nn.max_pool(x, (3, 3), (2, 2))):
        f = lambda x, pool=pool: jax.nn.relu(pool(jax.nn.relu(-x)) + x[:, :2, :2])  # noqa: E731
        expected = np.zeros((6, 6, 1))
        # Beside the pool, and through the sign before it.
        expected[1, 1], expected[2, 2] = 0.5, -0.5
        projector = Projector(f)
        np.testing.assert_array_equal(projector(image, (1, 1, 0)).pictures[0], expected)
    # Of a map's equal maxima, too.
    assert projector(image, 0).units.tolist() == [[0, 0, 0]]


def test_local_response_normalisation_is_differentiated():
    weights = kernel(3, 3, 2, 5)

    def before(x):
        return ops.conv(x, weights, padding="valid")

    def f(x):
        return ops.local_response_norm(jax.nn.relu(before(x)), alpha=0.5)

    image = image_of(5, 5, 2)
    found = project(f, image, rule="deconvnet")
    z = jax.jit(before)(image[None])
    of_norm = jax.jacobian(lambda z: ops.local_response_norm(jax.nn.relu(z), alpha=0.5))
    jacobian = np.asarray(jax.jit(of_norm)(z))[0][tuple(found.units.T)][:, 0]
    # Where the rectifier is shut the derivative before it shows nothing of what arrives behind it: nothing does,
    # as a number that is 0 has no part in the sum of squares.
    signals = np.maximum(found.values[:, None, None, None] * jacobian, 0) * np.asarray(z > 0)
    expected = jax.jit(lambda s: ops.conv_transpose(s, weights, input_size=(5, 5), padding="valid"))(signals)
    np.testing.assert_allclose(found.pictures, expected, rtol=0, atol=1e-12)


def test_batch_normalisation_is_folded():
    """Its scale multiplies, its mean and bias have no part: the picture of the network without it is the same."""
    norm = nn.BatchNorm(use_running_average=True, epsilon=0.0)
    scale, shift, mean, variance = normal(6), normal(6, seed=1), normal(6, seed=2), 0.5 + image_of(6)
    variables = {
        "params": {"scale": jnp.asarray(scale), "bias": jnp.asarray(shift)},
        "batch_stats": {"mean": jnp.asarray(mean), "var": jnp.asarray(variance)},
    }
    first, second = kernel(3, 3, 3, 6), kernel(3, 3, 6, 4, seed=1)

    def f(x):
        x = jax.nn.relu(norm.apply(variables, ops.conv(x, first)))
        return jax.nn.relu(ops.conv(x, second))

    factor = scale / np.sqrt(variance)
    folded = [
        Convolution(first * factor[None, None, None], jnp.asarray(shift - mean * factor)),
        *(Rectifier(), Convolution(second), Rectifier()),
    ]
    image = image_of(8, 8, 3)
    found, expected = project(f, image), deconvnet(folded, image)
    np.testing.assert_allclose(found.pictures, expected.pictures, rtol=0, atol=1e-12 * np.abs(found.pictures).max())


def test_however_many_units_at_a_time():
    f = FIRST_LAYERS
    everything = project(f, IMAGE)
    assert everything.pictures.shape == (8, *IMAGE.shape)
    assert everything.units[:, -1].tolist() == list(range(8))
    few = Projector(f, batch_size=3)
    for unit in (None, list(range(8)), np.arange(8), [tuple(u) for u in everything.units.tolist()]):
        found = few(IMAGE, unit)
        np.testing.assert_array_equal(found.units, everything.units)
        np.testing.assert_allclose(found.pictures, everything.pictures, rtol=1e-12, atol=1e-14)
    one = few(IMAGE, tuple(everything.units[5].tolist()))
    np.testing.assert_allclose(one.pictures[0], few(IMAGE, 5).pictures[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(one.pictures[0], everything.pictures[5], rtol=1e-12, atol=1e-14)

    images = np.stack([image_of(31, 27, 3, seed=s) for s in range(5)])
    each = few.each(images, [4, 0, 4, 7, 2])
    for image, channel, unit, value, picture in zip(
        images, [4, 0, 4, 7, 2], each.units, each.values, each.pictures, strict=True
    ):
        alone = few(image, channel)
        np.testing.assert_array_equal(alone.units[0], unit)
        np.testing.assert_allclose(alone.values[0], value, rtol=1e-12)
        np.testing.assert_allclose(alone.pictures[0], picture, rtol=1e-12, atol=1e-14)


def test_layers_of_a_model_by_name():
    options = dict(widths=(3,), depth=1, head_width=3, norm="layer", downsample="max", dtype=jnp.float64)
    model = models.AllConv(num_classes=3, **options)
    image = image_of(8, 8, 3)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image[None])
    variables = jax.tree.map(lambda leaf: kernel(*leaf.shape) if leaf.ndim > 1 else jnp.ones(leaf.shape), shapes)
    _, activations = jax.jit(model.apply)(variables, image[None])
    found = project(lambda x: model.apply(variables, x), image, "logits")
    np.testing.assert_allclose(found.values, activations["logits"][0], rtol=1e-9)
    np.testing.assert_array_equal(found.units, [[0], [1], [2]])
    assert found.pictures.any(axis=(1, 2, 3)).all()


def test_signals():
    weights = kernel(3, 2, 4)
    f = jax.jit(lambda x: {"conv": jax.nn.relu(ops.conv(x, weights))})
    signal = image_of(9, 2)
    found = project(f, signal, "conv", (4, 1))
    expected = np.zeros((9, 2))
    expected[3:6] = found.values[0] * np.asarray(weights[..., 1])
    np.testing.assert_allclose(found.pictures[0], expected, atol=1e-14)


def two_layers(x):
    x = jax.nn.relu(x @ jnp.ones((3, 4)))
    return {"first": x, "second": jax.nn.relu(-x), "total": x.sum()}


SMALL = image_of(4, 4, 3)


@pytest.mark.parametrize("activation", repeated([jnp.tanh, lambda x: x]))
def test_a_gradient_needs_no_rectifier(activation):
    weights = kernel(3, 3, 3, 4)

    def f(x):
        return activation(ops.conv(activation(ops.avg_pool(x, 2)), weights))

    image = image_of(6, 6, 3)
    y, pull = jax.vjp(f, image[None])
    expected = pull(jnp.zeros_like(y).at[0, 1, 2, 3].set(y[0, 1, 2, 3]))[0][0]
    found = project(f, image, unit=(1, 2, 3), rule="gradient")
    np.testing.assert_allclose(found.pictures[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(layer="frist"), "layer='frist' is unknown; .*perhaps you meant first"),
        (dict(layer=None), "returns 3 activations: name the layer"),
        (dict(layer="total"), r"'total' has shape \(\).*no units"),
        (dict(unit=4), r"no unit \(4,\): from 0 and below \(4,\)"),
        (dict(unit=(0, 4, 0)), r"no unit \(0, 4, 0\)"),
        (dict(unit=-1), r"no unit \(-1,\)"),
        (dict(unit=(0, 0)), "2 numbers: an index has 3"),
        (dict(unit=[]), "give a channel, an index"),
        (dict(unit=0.5), "give a channel, an index"),
        (dict(image=SMALL[None]), r"shape \(1, 4, 4, 3\): expected one image"),
        (dict(image=np.zeros((4, 4, 3), np.uint8)), "divide uint8 pixels by 255"),
        (dict(image=SMALL * 255), "outside .*divide pixels by 255"),
        (dict(image=np.where(SMALL > 0.5, np.nan, SMALL)), "NaN or infinity"),
        (dict(rule="deconv"), "rule='deconv' is unknown"),
        (dict(others="drop"), "others='drop' is unknown"),
        (dict(batch_size=0), "batch_size=0 must be positive"),
        (dict(f=lambda x: x * 2, layer=None), "no rectifier.*rule='gradient' needs none"),
        (dict(f=lambda x: jnp.tanh(x), layer=None, rule="guided"), "no rectifier.*tanh.*rule='gradient' needs none"),
        (dict(f=lambda x: jnp.tanh(x), layer=None, rule="gradient", others="refuse"), "no rectifiers: tanh"),
    ],
)
def test_bad_input(arguments, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        project(**{"f": two_layers, "image": SMALL, "layer": "first", "unit": 0, **arguments})


def test_a_unit_for_each_image():
    with pytest.raises(InputError, match="2 units for 3 images"):
        Projector(two_layers, "first").each(np.stack([SMALL] * 3), [0, 1])
