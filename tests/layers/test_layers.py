"""Normalisation and blocks against NumPy written out."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layer_cases import draw

from cnnjax import layers, ops
from cnnjax.layers.batch_norm import BatchNorm
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


@pytest.mark.parametrize(
    "fields", [{"axis_name": "devices"}, {"axis": 1}, {"use_bias": False}, {"use_scale": False}], ids=str
)
def test_batch_norm_with_other_fields_is_flaxs(fields):
    x = jax.random.normal(KEY, (2, 3, 4, 5)) + jnp.arange(2.0).reshape(2, 1, 1, 1)

    def normalised(kind):
        norm = kind(use_running_average=False, use_fast_variance=False, **fields)
        train = functools.partial(norm.apply, norm.init(KEY, x[0]), mutable=["batch_stats"])
        return jax.vmap(train, axis_name="devices")(x)

    ours, flaxs = jax.jit(lambda: (normalised(BatchNorm), normalised(nn.BatchNorm)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), ours, flaxs)


@pytest.mark.parametrize(("kind", "groups"), [("layer", 1), ("group", 16)])
def test_layer_and_group_norm(kind, groups):
    x = np.asarray(draw(2, 5, 5, 48)) * np.float32(3) + np.float32(1)
    norm = layers.Norm(kind)
    y = jax.jit(lambda x: norm.init_with_output(KEY, x, train=True)[0])(x)
    parts = x.reshape(2, 25, groups, 48 // groups)
    mean, var = parts.mean((1, 3), keepdims=True), parts.var((1, 3), keepdims=True)
    np.testing.assert_allclose(y, ((parts - mean) / np.sqrt(var + 1e-6)).reshape(x.shape), atol=1e-4)


def normalised(x, axes, epsilon):
    x = np.asarray(x, np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


@pytest.mark.parametrize("mean", [3000.0, -3e5])
@pytest.mark.parametrize("kind", ["batch", "layer", "group"])
def test_a_deviation_of_one_is_kept_beside_a_mean_a_thousand_times_as_large(kind, mean):
    # Two seeds at once, as trainings of several do. Deviations of 8 at 3e5, where float32 holds 1/32.
    deviation = 1 if abs(mean) < 1e4 else 8
    x = np.stack([draw(16, 14, 14, 8, seed=seed) * np.float32(deviation) + np.float32(mean) for seed in (0, 1)])
    norm = layers.Norm(kind)

    @jax.jit
    @jax.vmap
    def run(x):
        y, stats = norm.apply(norm.init(KEY, x, train=False), x, train=True, mutable=["batch_stats"])
        return y, stats.get("batch_stats")

    y, stats = run(x)
    groups, axes = (8, (1, 2, 3)) if kind == "batch" else (8 if kind == "group" else 1, (2, 3, 5))
    parts = x if kind == "batch" else x.reshape(2, 16, 14, 14, groups, -1)
    expected = normalised(parts, axes, 1e-5 if kind == "batch" else 1e-6).reshape(x.shape)
    # The mean itself is a sum in float32, off by some units in its last place. PyTorch's is too.
    np.testing.assert_allclose(y, expected, atol=4 * np.spacing(np.float32(abs(mean))) / deviation)
    np.testing.assert_allclose(np.std(y, axis=(1, 2, 3)) if kind == "batch" else np.std(y), 1, atol=4e-4)
    if kind == "batch":
        var = np.var(np.asarray(x, np.float64), (1, 2, 3))
        np.testing.assert_allclose(stats["batch"]["var"], 0.9 + 0.1 * var, rtol=1e-4)


@pytest.mark.parametrize(("kind", "axes"), [("batch", (0, 1, 2)), ("layer", (1, 2, 3))])
def test_bfloat16_maps_are_normalised_in_float32(kind, axes):
    # bfloat16 holds 64 and its neighbours 1/2 apart.
    x = jnp.round(2 * draw(16, 8, 8, 4)).astype(jnp.bfloat16) / 2 + jnp.bfloat16(64)
    norm = layers.Norm(kind, dtype=jnp.bfloat16)
    y = jax.jit(functools.partial(norm.init_with_output, train=True))(KEY, x)[0]
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y, np.float64), normalised(x, axes, 1e-5), rtol=2**-8, atol=1e-3)


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
