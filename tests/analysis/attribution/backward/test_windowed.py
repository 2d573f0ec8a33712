"""The way back through windows against the vector-Jacobian product over whole maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cnnjax import models, ops
from cnnjax.analysis import with_relu_rule
from cnnjax.analysis.attribution.backward.windowed import windowed
from tests.repeats import repeated

RULES = ("gradient", "deconvnet", "guided")
RNG = np.random.default_rng(0)


def kernel(*shape):
    return RNG.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))


K = {"7": kernel(7, 7, 2, 4), "3": kernel(3, 3, 4, 4), "5": kernel(5, 3, 4, 4), "1": kernel(1, 1, 4, 4)}
K["group"] = kernel(3, 3, 2, 4)


def strided_and_pooled(x):
    x = jax.nn.relu(ops.conv((x - 0.5) / 0.25, jnp.asarray(K["7"]), stride=3, padding=2) + 0.1)
    x = ops.max_pool(x, 3, stride=2, padding=1)
    x = jnp.maximum(ops.conv(x, jnp.asarray(K["3"])) - 0.05, 0)
    return ops.max_pool(x, 2)


def residual(x):
    """Branches of different reach, one behind another, with fixed scales in between."""
    x = jax.nn.relu(ops.conv(x, jnp.asarray(K["7"]), stride=2))
    y = ops.conv(x, jnp.asarray(K["5"]), stride=(2, 1)) * jnp.asarray([1.5, -1.0, 0.5, 2.0])[None, None, None]
    y = ops.conv(jax.nn.relu(y), jnp.asarray(K["3"]), dilation=2)
    return jax.nn.relu(y + ops.conv(x, jnp.asarray(K["1"]), stride=(2, 1)))


def shortcut(x):
    """Without parameters: every second position, and channels of zeros."""
    x = jax.nn.relu(ops.conv(x, jnp.asarray(K["7"]), stride=2))
    short = jnp.pad(x[:, 1::2, ::2, 1:3], ((0, 0), (1, 0), (0, 0), (1, 1)))
    return jax.nn.relu(ops.conv(x, jnp.asarray(K["3"]), stride=2) + short[:, : -(-x.shape[1] // 2)])


def branches(x):
    x = jax.nn.relu(ops.conv(x, jnp.asarray(K["7"]), stride=2))
    return jax.nn.relu(ops.conv(x, jnp.asarray(K["3"])) - x + 2 * ops.conv(x, jnp.asarray(K["1"])))


def grouped(x):
    x = jax.nn.relu(ops.conv(x, jnp.asarray(K["7"]), stride=2))
    return nn.max_pool(jax.nn.relu(ops.conv(x, jnp.asarray(K["group"]), groups=2)), (3, 2), (2, 2))


def whole_image(x):
    """The window is soon larger than the map."""
    x = jax.nn.relu(ops.conv(x, jnp.asarray(K["7"]), stride=5))
    for _ in range(3):
        x = jax.nn.relu(ops.conv(x, jnp.asarray(K["3"])))
    return x


NETWORKS = {f.__name__: f for f in (strided_and_pooled, residual, shortcut, branches, grouped, whole_image)}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def units_of(shape):
    """The corners, the middle and a place near a border, in different channels."""
    (height, width), channels = shape[1:3], shape[3]
    places = [(0, 0), (height - 1, 0), (0, width - 1), (height - 1, width - 1), (height // 2, width // 2), (1, 1)]
    return np.array([(i, j, (n + k) % channels) for k in (0, 1) for n, (i, j) in enumerate(places)])


def seeds_of(f, images, index, values):
    """For each unit the activation that is 0 but for it, and the image that it is of."""
    of_image = np.arange(len(index)) if len(images) > 1 else np.zeros(len(index), int)
    seeds = np.zeros((len(index), *jax.eval_shape(f, images).shape))
    for seed, image, unit, value in zip(seeds, of_image, index, values, strict=True):
        seed[image, *unit] = value
    return seeds, of_image


@pytest.mark.parametrize(
    ("name", "several", "rules"),
    repeated(
        [("strided_and_pooled", False, RULES[1:2]), ("residual", True, RULES[:1])]
        + [(name, name in ("strided_and_pooled", "grouped"), RULES[2:]) for name in reversed(NETWORKS)],
        quick=4,
    ),
)
def test_the_same_as_over_whole_maps(name, several, rules):
    f = NETWORKS[name]
    rng = np.random.default_rng(0)  # the same images, whichever cases run before
    index = units_of(jax.eval_shape(f, jnp.zeros((1, 41, 30, 2))).shape)
    images = jnp.asarray(rng.random((len(index) if several else 1, 41, 30, 2)))
    values = rng.uniform(0.5, 2, len(index))
    for rule in rules:

        @jax.jit
        def pictures(images, index, values, seeds, rule=rule):
            found = windowed(f, images, 0, rule, "keep")
            assert found is not None
            by_derivative = jax.vmap(jax.vjp(with_relu_rule(f, rule), images)[1])
            return found[1](index, values), by_derivative(seeds)[0]

        seeds, of_image = seeds_of(f, images, index, values)
        found, expected = map(np.asarray, pictures(images, index, values, seeds))
        expected = expected[np.arange(len(index)), of_image]
        assert expected.any((1, 2, 3)).sum() >= 4
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("model", "layer"),
    repeated(
        [
            (models.alexnet_one_tower(num_classes=2, dense_widths=(2, 2), widths=(2,) * 5), "conv5"),
            (models.resnet20(num_classes=2, widths=(2, 2, 2), depth=1), "stage3_block1"),
            (models.AllConv(num_classes=2), "stage2_conv1"),
        ]
    ),
)
def test_networks_that_it_is_for(model, layer):
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)

    def maps(images, variables):
        found = windowed(lambda x: model.apply(variables, x)[1][layer], images, 0, "guided", "keep")
        assert found is not None
        return found[0]

    jax.eval_shape(maps, images, variables)


@jax.custom_vjp
def turned(x):
    return x


turned.defvjp(lambda x: (x, None), lambda _, g: (-g,))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: jax.nn.relu(turned(x)),
        lambda x: jax.nn.relu(jax.jit(turned)(x)),
        lambda x: jax.nn.relu(jax.lax.stop_gradient(x) + x),
        lambda x: jax.nn.relu(x.astype(jnp.int32).astype(x.dtype)),
        lambda x: jax.nn.relu(x) * x,
        lambda x: jax.nn.relu(ops.avg_pool(x, 2)),
        lambda x: jax.nn.relu(x).mean((1, 2)),
        lambda x: jax.nn.relu(jnp.swapaxes(x, 1, 2)),
        lambda x: jax.lax.scan(lambda c, _: (jax.nn.relu(c), None), x, None, length=2)[0],
        lambda x: jax.nn.relu(x - x.mean(keepdims=True)),
        lambda x: ops.local_response_norm(jax.nn.relu(x)),
    ],
)
def test_what_it_leaves_to_the_derivative(f):
    assert windowed(f, jnp.ones((1, 4, 4, 2)), 0, "deconvnet", "keep") is None
