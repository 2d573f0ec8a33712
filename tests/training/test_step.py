"""One step against the update rules written out, and against optax."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnnjax.data import Augmentation, apply_augmentation
from cnnjax.training import (
    Epoch,
    Settings,
    StepSpec,
    TrainConfig,
    init_state,
    learning_rate,
    make_optimizer,
    train_step,
)
from cnnjax.training.config import Hyper

KEY = jax.random.key(0, impl="rbg")  # whose draws compile faster
NONE = Augmentation().as_arrays()
initial = jax.jit(init_state, static_argnums=(0, 2))
step_of = jax.jit(train_step, static_argnums=0)
rate_of = jax.jit(learning_rate)


def hyper(**values):
    defaults = dict(learning_rate=0.1, warmup_steps=0, total_steps=10, weight_decay=0.0, label_smoothing=0.0)
    return Hyper(**{name: np.float32(value) for name, value in (defaults | values).items()})


def test_the_learning_rate_rises_linearly_and_falls_as_half_a_cosine():
    h = hyper(learning_rate=0.4, warmup_steps=4, total_steps=12)
    rates = [float(rate_of(np.int32(step), h)) for step in range(13)]
    rise = [0.1, 0.2, 0.3, 0.4]
    fall = [0.4 * 0.5 * (1 + np.cos(np.pi * k / 8)) for k in range(9)]
    np.testing.assert_allclose(rates, rise + fall, atol=1e-6)


def test_the_learning_rate_stays_at_a_constant_peak():
    config = TrainConfig(epochs=3, batch_size=10, learning_rate=0.4, warmup=0.2, schedule="constant")
    rates = [float(rate_of(np.int32(step), config.hyper(100))) for step in (0, 2, 5, 6, 29, 10**6)]
    np.testing.assert_allclose(rates, [0.4 / 6, 0.2, 0.4, 0.4, 0.4, 0.4], rtol=1e-6)


def test_adadelta_is_that_of_its_paper():
    params = {"kernel": np.float32([[2, -1]]), "bias": np.float32([3])}
    optimizer = make_optimizer("adadelta", 0.1)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    squares, steps = ({"kernel": np.zeros((1, 2)), "bias": np.zeros(1)} for _ in range(2))
    for scale in (1.0, -0.3, 2.0):
        gradient = jax.tree.map(lambda p, scale=scale: np.float32(scale) * p * p, params)
        direction, state = update(gradient, state, params)
        for name, decay in (("kernel", 0.1), ("bias", 0.0)):
            g = np.asarray(gradient[name]) + decay * np.asarray(params[name])
            squares[name] = 0.9 * squares[name] + 0.1 * g**2
            step = np.sqrt(steps[name] + 1e-6) / np.sqrt(squares[name] + 1e-6) * g
            steps[name] = 0.9 * steps[name] + 0.1 * step**2
            np.testing.assert_allclose(direction[name], step, rtol=1e-5)


def test_the_learning_rate_falls_in_steps_as_in_the_recipe_of_residual_networks():
    # He et al. 2016, section 4.2: 64k steps, a tenth from 32k and again from 48k on; warmed up here for 400 steps.
    config = TrainConfig(epochs=160, batch_size=128, learning_rate=0.1, schedule="steps", warmup=400 / 64000)
    h = config.hyper(400 * 128)
    at = {0: 0.1 / 400, 399: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001}
    for step, rate in at.items():
        assert float(rate_of(np.int32(step), h)) == pytest.approx(rate, rel=1e-5)


def test_sgd_is_nesterov_momentum_with_decay_of_kernels_alone():
    params = {"kernel": np.float32([[2, -1]]), "bias": np.float32([3])}
    optimizer = make_optimizer("sgd", 0.1)
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    gradients = [{"kernel": np.float32([[1, 2]]), "bias": np.float32([0.5])}] * 2
    velocity = {"kernel": np.zeros((1, 2)), "bias": np.zeros(1)}
    for gradient in gradients:
        direction, state = update(gradient, state, params)
        for name, decay in (("kernel", 0.1), ("bias", 0.0)):
            g = np.asarray(gradient[name]) + decay * np.asarray(params[name])
            velocity[name] = 0.9 * velocity[name] + g
            np.testing.assert_allclose(direction[name], g + 0.9 * velocity[name], rtol=1e-5)


@jax.numpy_dtype_promotion("standard")  # optax itself raises a float to an integer power
def test_adamw_is_that_of_optax():
    params = {"kernel": np.float32([[2, -1]]), "bias": np.float32([3])}
    ours = make_optimizer("adamw", 0.1)
    theirs = optax.adamw(0.01, weight_decay=0.1, mask={"kernel": True, "bias": False})
    ours_state, theirs_state = ours.init(params), theirs.init(params)
    for scale in (1.0, -0.3):
        gradient = jax.tree.map(lambda p, scale=scale: np.float32(scale) * p * p, params)
        direction, ours_state = jax.jit(ours.update)(gradient, ours_state, params)
        update, theirs_state = jax.jit(theirs.update)(gradient, theirs_state, params)
        jax.tree.map(lambda d, u: np.testing.assert_allclose(-0.01 * np.asarray(d), u, rtol=1e-5), direction, update)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_step_is_gradient_descent_on_the_smoothed_cross_entropy(problem, spec, smoothing):
    images, labels = problem
    # Without batch statistics the loss of a batch is a plain function of the parameters.
    model = dataclasses.replace(spec.model, norm="none")
    spec = dataclasses.replace(spec, model=model)
    state = initial(spec, KEY, images.shape[1:])
    order = np.arange(90)[::-1]
    settings = Settings(hyper(label_smoothing=smoothing), NONE)
    new, metrics = step_of(spec, state, KEY, Epoch(order, images, labels), settings)
    batch = images[::-1][:30].astype(np.float32) / 255
    target = np.eye(2, dtype=np.float32)[labels[::-1][:30]] * (1 - smoothing) + smoothing / 2

    @jax.jit
    @jax.value_and_grad
    def loss(params, batch, target):
        return -(target * jax.nn.log_softmax(model.apply({"params": params}, batch)[0])).sum(-1).mean()

    params = state.variables["params"]
    value, gradient = loss(params, batch, target)
    assert float(metrics["loss"]) == pytest.approx(float(value), rel=1e-5)
    # Nesterov's first step from rest is 1.9 times the gradient; the rate at step 0 of no warm-up is the peak.
    expected = jax.tree.map(lambda p, g: np.asarray(p) - 0.1 * 1.9 * np.asarray(g), params, gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), new.variables["params"], expected)
    assert int(new.step) == 1


def test_steps_walk_through_the_order_and_start_again(problem, spec, strengths):
    images, labels = problem
    state = initial(spec, KEY, images.shape[1:])
    order = np.random.default_rng(1).permutation(90)
    for step, rows in ((0, slice(0, 30)), (2, slice(60, 90)), (3, slice(0, 30))):
        at = dataclasses.replace(state, step=np.int32(step))
        whole = step_of(spec, at, KEY, Epoch(order, images, labels), Settings(hyper(), strengths))[1]
        # Only the rows of this batch matter: all other images may be anything.
        blank = np.zeros_like(images)
        blank[order[rows]] = images[order[rows]]
        alone = step_of(spec, at, KEY, Epoch(order, blank, labels), Settings(hyper(), strengths))[1]
        assert float(whole["loss"]) == float(alone["loss"])


class Random(nn.Module):
    """Two class scores: a parameter, and what the stream "dropout" gives."""

    num_classes: int = 2

    @nn.compact
    def __call__(self, images, *, train=False):
        bias = self.param("bias", nn.initializers.zeros, (1,))
        noise = (
            jax.random.uniform(self.make_rng("dropout"), (images.shape[0],)) if train else jnp.zeros(images.shape[0])
        )
        return jnp.stack([bias + noise, bias - noise], -1), {}


def test_the_randomness_of_a_network_follows_from_its_key_and_the_step(problem):
    images, labels = problem
    spec = StepSpec(Random(), "sgd", 30, apply_augmentation)
    state = initial(spec, KEY, images.shape[1:])

    def loss(seed, step):
        at = dataclasses.replace(state, step=np.int32(step))
        key = jax.random.key(seed, impl="rbg")
        epoch = Epoch(np.arange(90), images, labels)
        return float(step_of(spec, at, key, epoch, Settings(hyper(), NONE))[1]["loss"])

    assert loss(1, 0) == loss(1, 0)
    assert len({loss(seed, step) for seed in (1, 2) for step in (0, 3, 6)}) == 6


def test_the_default_recipe_scales_with_the_data():
    config = TrainConfig()
    assert config.passes(1500) == 20
    assert config.passes(60_000) == 8
    assert config.passes(10**7) == 3
    assert TrainConfig(epochs=7).passes(60_000) == 7
