"""What steps take: the compiler's memory follows the batch, and timing leaves the caller what it had to give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import models
from cnnjax.training import Epoch, Settings, StepSpec, TrainConfig, init_states, steps_memory, timed_steps, with_recipe


def _as_they_are(key, images, strengths):
    return images


def _arguments(batch: int, **recipe):
    config = TrainConfig(epochs=1, batch_size=batch, **recipe)
    spec = with_recipe(
        StepSpec(models.AllConv(num_classes=3, widths=(8,), depth=1), "sgd", batch, _as_they_are), config, 1
    )
    epoch = Epoch(jnp.arange(64)[None], jnp.zeros((64, 16, 16, 1), jnp.uint8), jnp.zeros(64, jnp.int32))
    states = init_states(spec, [0], (16, 16, 1))
    return spec, states, jax.random.split(jax.random.key(0), 1), epoch, Settings(config.hyper(64), None)


def test_the_activations_of_twice_the_images_take_about_twice_the_memory():
    half, whole = (steps_memory(*_arguments(batch)) for batch in (32, 64))
    assert 1.6 < whole / half < 2.4


def test_a_batch_in_four_parts_takes_less_than_half_the_memory():
    assert steps_memory(*_arguments(64, accumulate=4)) < steps_memory(*_arguments(64)) / 2


def test_devices_share_the_activations_of_a_batch():
    if jax.device_count() < 2:
        pytest.skip("this backend has one device")
    assert steps_memory(*_arguments(64, devices=2)) < steps_memory(*_arguments(64)) * 0.75


def test_a_step_takes_time():
    spec, states, *rest = _arguments(8)
    assert 0 < timed_steps(spec, states, 1, *rest) < np.inf
