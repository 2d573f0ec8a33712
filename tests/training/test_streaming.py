"""Training on images that are decoded meanwhile: the networks of memory, through kills too."""

import dataclasses
import importlib.util

import jax
import numpy as np
import pytest

from cnnjax import models
from cnnjax.data import Augmentation, DataConfig, apply_augmentation, load
from cnnjax.training import StepSpec, TrainConfig, Training, loop, train, train_together
from tests.data.photographs import photographs
from tests.training.conftest import assert_equal
from tests.training.test_loop import Killed

pytestmark = pytest.mark.skipif(importlib.util.find_spec("grain") is None, reason="grain is not installed")

CONFIG = TrainConfig(epochs=3, batch_size=8, learning_rate=0.05)
NONE = Augmentation(crop=1, flip=0.5).as_arrays()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return photographs(tmp_path_factory.mktemp("photographs"), 15)


@pytest.fixture(scope="module")
def spec():
    return StepSpec(models.AllConv(num_classes=2, widths=(4,), depth=1, head_width=4), "sgd", 8, apply_augmentation)


def stored(folder, **options):
    split = load(DataConfig("folder", folder, size=12, memory=0.0, workers=0, **options), stream=True).train
    return split.images, split.labels


def test_networks_are_those_of_the_same_images_in_memory(folder, spec):
    memory = load(DataConfig("folder", folder, size=12)).train
    found = train(spec, CONFIG, *stored(folder), NONE, seeds=[3, 5])
    expected = train(spec, CONFIG, memory.images, memory.labels, NONE, seeds=[3, 5])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected)


def test_a_killed_training_ends_with_the_same_bits(folder, spec, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHUNK", 2)  # checkpoints inside epochs too
    data = stored(folder, crop_area=0.2)
    whole = train(spec, CONFIG, *data, NONE, seeds=[3, 5])
    logged = []

    def log(**record):
        logged.append(record)
        if len(logged) == 6:
            raise Killed

    checkpoint = tmp_path / "state.safetensors"
    with pytest.raises(Killed):
        train(spec, CONFIG, *data, NONE, seeds=[3, 5], checkpoint=checkpoint, log=log)
    assert_equal(train(spec, CONFIG, *data, NONE, seeds=[3, 5], checkpoint=checkpoint), whole)


def test_trainings_that_differ_in_numbers_share_a_stream(folder, spec):
    data = stored(folder, crop_area=0.2)
    slow = TrainConfig(epochs=3, batch_size=8, learning_rate=0.01)
    together = train_together(spec, [Training(CONFIG, NONE, [3, 5]), Training(slow, NONE, [5])], *data)
    assert_equal(together[0], train(spec, CONFIG, *data, NONE, seeds=[3, 5]))
    assert_equal(together[1], train(spec, slow, *data, NONE, seeds=[5]))


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
def test_devices_share_streamed_batches(folder, spec):
    data = stored(folder, crop_area=0.2)
    one, two = (
        train(spec, dataclasses.replace(CONFIG, epochs=1, devices=devices), *data, NONE, seeds=[3])
        for devices in (1, 2)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one, two)
