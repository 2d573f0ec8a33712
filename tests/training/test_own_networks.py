"""Networks of other people's code are trained: the step of each is gradient descent on its own loss."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from flax import nnx

from cnnjax import InputError, models
from cnnjax.data import Augmentation, apply_augmentation
from cnnjax.training import Epoch, Settings, StepSpec, TrainConfig, init_state, train, train_step
from cnnjax.training.config import Hyper

KEY = jax.random.key(0, impl="rbg")
NONE = Augmentation().as_arrays()
CONFIG = TrainConfig(epochs=1, batch_size=30, learning_rate=0.1)
HYPER = Hyper(*np.float32([0.1, 0, 10, 0, 0]))


class Logits(nn.Module):
    """As Flax's own examples are written: `train` without a default, logits only, no field for the classes."""

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Conv(3, (3, 3))(x))
        return nn.Dense(2)(nn.relu(x).mean((1, 2)))


class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv, self.norm = nnx.Conv(1, 3, (3, 3), rngs=rngs), nnx.BatchNorm(3, momentum=0.9, rngs=rngs)
        self.dense = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
        return self.dense(nnx.relu(self.norm(self.conv(x))).mean((1, 2)))


@pytest.mark.parametrize("model", [Logits(), models.from_nnx(Net)], ids=["linen", "nnx"])
def test_a_step_is_gradient_descent_on_the_networks_own_loss(problem, model):
    images, labels = problem
    spec = StepSpec(model, "sgd", 30, apply_augmentation)
    state = init_state(spec, KEY, images.shape[1:])
    batch = images[:30].astype(np.float32) / 255

    @jax.jit
    @jax.value_and_grad
    def loss(params, statistics):
        variables = {"params": params, "batch_stats": statistics}
        logits, _ = model.apply(variables, batch, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[:30]).mean()

    value, gradient = loss(state.variables["params"], state.variables["batch_stats"])
    epoch = Epoch(np.arange(90), images, labels)
    after, metrics = jax.jit(train_step, static_argnums=0)(spec, state, KEY, epoch, Settings(HYPER, NONE))
    assert float(metrics["loss"]) == pytest.approx(float(value), rel=1e-5)
    # Nesterov's first step from rest is 1.9 times the gradient.
    expected = jax.tree.map(lambda p, g: np.asarray(p) - 0.1 * 1.9 * np.asarray(g), state.variables["params"], gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.variables["params"], expected)
    before, now = (jax.tree.leaves(s.variables["batch_stats"]) for s in (state, after))
    assert not any(np.array_equal(a, b) for a, b in zip(before, now, strict=True))


def test_an_nnx_network_is_trained_from_a_checkpoint_on(problem, tmp_path):
    spec = StepSpec(models.from_nnx(Net), "sgd", 30, apply_augmentation)
    path = tmp_path / "state.safetensors"
    whole = train(spec, CONFIG, *problem, NONE, seeds=[0, 1], checkpoint=path)
    kept = train(spec, CONFIG, *problem, NONE, seeds=[0, 1], checkpoint=path)  # there is nothing left to do
    jax.tree.map(np.testing.assert_array_equal, whole, kept)
    assert whole["params"]["conv"]["kernel"].shape == (2, 3, 3, 1, 3)
    assert not np.array_equal(*whole["params"]["dense"]["kernel"])


def test_labels_beyond_the_logits_are_refused(problem):
    images, labels = problem
    spec = StepSpec(Logits(), "sgd", 30, apply_augmentation)
    with pytest.raises(
        InputError, match="labels have 2, and the network tells 2 classes apart: give numbers from 0 to 1"
    ):
        train(spec, CONFIG, images, labels + 1, NONE, seeds=[0])
