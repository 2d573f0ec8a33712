"""Normalisation and blocks against NumPy written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import draw

from cnnjax import layers, ops
from tests.drawn import KEY, drawn_variables


def test_batch_norm_in_training_and_evaluation():
    x = np.asarray(draw(4, 5, 5, 3)) * np.float32(3) + np.float32(1)
    norm = layers.Norm("batch")

    @jax.jit
    def run(x):
        variables = norm.init(KEY, x, train=False)
        y, updated = norm.apply(variables, x, train=True, mutable=["batch_stats"])
        return y, updated, norm.apply({**variables, **updated}, x, train=False)

    y, updated, kept = run(x)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), atol=1e-4)
    stats = updated["batch_stats"]["batch"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, atol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 * 1 + 0.1 * var, atol=1e-4)
    np.testing.assert_allclose(
        kept, (x - np.asarray(stats["mean"])) / np.sqrt(np.asarray(stats["var"]) + 1e-5), atol=1e-4
    )


@pytest.mark.parametrize(("kind", "groups"), [("layer", 1), ("group", 16)])
def test_layer_and_group_norm(kind, groups):
    x = np.asarray(draw(2, 5, 5, 48)) * np.float32(3) + np.float32(1)
    norm = layers.Norm(kind)
    y = jax.jit(lambda x: norm.init_with_output(KEY, x, train=True)[0])(x)
    parts = x.reshape(2, 25, groups, 48 // groups)
    mean, var = parts.mean((1, 3), keepdims=True), parts.var((1, 3), keepdims=True)
    np.testing.assert_allclose(y, ((parts - mean) / np.sqrt(var + 1e-6)).reshape(x.shape), atol=1e-4)


@pytest.mark.parametrize("downsample", ["max", "average"])
def test_a_block_pools_after_its_rectifier(downsample):
    x = draw(2, 6, 6, 3)
    block = layers.ConvBlock(4, factor=2, downsample=downsample, norm="none")
    variables = drawn_variables(block, x, train=False)

    @jax.jit
    def run(variables, x):
        return block.apply(variables, x, train=False), ops.conv(x, variables["params"]["conv"]["kernel"])

    y, convolved = run(variables, x)
    bias = variables["params"]["conv"].get("bias", 0)
    rectified = np.maximum(np.asarray(convolved) + np.asarray(bias), 0)
    windows = rectified.reshape(2, 3, 2, 3, 2, 4)
    expected = windows.max((2, 4)) if downsample == "max" else windows.mean((2, 4))
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_standardize_is_by_channel():
    images = np.random.default_rng(0).random((2, 3, 3, 2), np.float32)
    expected = (images - np.float32([0.1, 0.2])) / np.float32([2, 4])
    np.testing.assert_allclose(layers.standardize(jnp.asarray(images), (0.1, 0.2), (2.0, 4.0)), expected, rtol=1e-6)
