"""A step that goes through its batch in parts is the step on the whole batch, but for what is over each part."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnnjax import InputError, models
from cnnjax.training import Settings, TrainConfig, batch_step, init_state

PARTS, BATCH = 3, 30
CONFIG = TrainConfig(epochs=2, batch_size=BATCH, learning_rate=0.05, label_smoothing=0.1)
SETTINGS = Settings(CONFIG.hyper(90), None)
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def batch(problem):
    return tuple(jnp.asarray(array[:BATCH]) for array in problem)


def unchanged(key, images, strengths):
    return images


def stepped(spec, state, batch, **options):
    """The states and metrics of two steps."""
    step = jax.jit(functools.partial(batch_step, dataclasses.replace(spec, augment=unchanged, **options)))
    first, metrics = step(state, KEY, *batch, SETTINGS)
    return first, metrics, step(first, KEY, *batch, SETTINGS)


def assert_close(found, right):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4), found, right)


@pytest.mark.parametrize("optimizer", ["sgd", "adadelta"])
def test_without_batch_normalization_parts_change_nothing(optimizer, spec, batch):
    model = models.AllConv(num_classes=2, widths=(4,), depth=1, head_width=4, norm="none")
    spec = dataclasses.replace(spec, model=model, optimizer=optimizer)
    state = init_state(spec, jax.random.key(0), (8, 8, 1))
    assert_close(stepped(spec, state, batch, accumulate=PARTS), stepped(spec, state, batch))


def test_batch_normalization_is_over_each_part_and_its_averages_move_for_each(spec, batch):
    state = init_state(spec, jax.random.key(0), (8, 8, 1))
    first, metrics, _ = stepped(spec, state, batch, accumulate=PARTS)
    pixels, labels = batch
    losses, gradients, averages = [], [], state.variables["batch_stats"]
    for part in range(PARTS):
        x, y = pixels[part::PARTS].astype(jnp.float32) / 255, jax.nn.one_hot(labels[part::PARTS], 2, dtype=jnp.float32)

        def loss_of(params, averages=averages, x=x, y=y):
            variables = {"params": params, "batch_stats": averages}
            (logits, _), updated = spec.model.apply(variables, x, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy(logits, optax.smooth_labels(y, 0.1)).mean(), updated

        (loss, updated), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.variables["params"])
        losses.append(loss)
        gradients.append(gradient)
        averages = updated["batch_stats"]
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-5)
    assert_close(first.variables["batch_stats"], averages)
    # The first step's momentum is the gradient, with weight decay of kernels.
    mean = jax.tree.map(lambda *parts: sum(parts) / PARTS, *gradients)
    decayed = jax.tree.map(lambda g, p: g + (5e-4 if p.ndim > 1 else 0.0) * p, mean, state.variables["params"])
    trace = [leaf for leaf in jax.tree.leaves(first.opt_state) if leaf.ndim]
    for found, right in zip(trace, jax.tree.leaves(decayed), strict=True):
        np.testing.assert_allclose(found, right, atol=1e-5, rtol=1e-4)


def test_parts_take_less_memory(spec, problem):
    model = models.AllConv(num_classes=2, widths=(16,), depth=2, head_width=16, norm="none")
    spec = dataclasses.replace(spec, model=model, augment=unchanged)
    state = init_state(spec, jax.random.key(0), (32, 32, 3))
    batch = jnp.zeros((32, 32, 32, 3), jnp.uint8), jnp.zeros(32, jnp.int32)

    def temporaries(parts):
        step = jax.jit(functools.partial(batch_step, dataclasses.replace(spec, accumulate=parts)))
        return step.lower(state, KEY, *batch, SETTINGS).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(8) < temporaries(1) / 2


class Dropped(nn.Module):
    """A network of nothing but dropout."""

    num_classes: int = 2

    @nn.compact
    def __call__(self, images, *, train=False):
        logits = nn.Dropout(0.5, deterministic=not train)(jnp.ones((len(images), 2)))
        return logits * self.param("scale", nn.initializers.ones, (1, 2)), {}


def test_each_part_drops_others(spec, batch):
    # One image in each part: with the same draws, six parts would have the loss of one, whatever that is.
    spec = dataclasses.replace(spec, model=Dropped())
    state = init_state(spec, jax.random.key(0), (8, 8, 1))
    pixels, labels = (jnp.repeat(array[:1], 32, axis=0) for array in batch)
    loss = stepped(spec, state, (pixels, labels), accumulate=32)[1]["loss"]
    each = [optax.softmax_cross_entropy(jnp.array(logits), jnp.array([0.95, 0.05])) for logits in ([2.0, 0], [0, 0.0])]
    possible = [each[0], each[1], optax.softmax_cross_entropy(jnp.array([0, 2.0]), jnp.array([0.95, 0.05]))]
    assert all(abs(loss - one) > 1e-3 for one in possible)


def test_parts_that_do_not_divide_the_batch_are_refused(spec, batch):
    with pytest.raises(InputError, match=r"train\.accumulate=4 does not divide train\.batch_size=30: give 2"):
        TrainConfig(batch_size=30, accumulate=4)
    state = init_state(spec, jax.random.key(0), (8, 8, 1))
    with pytest.raises(InputError, match="accumulate=4 does not divide the batch of 30 images"):
        stepped(spec, state, batch, accumulate=4)
