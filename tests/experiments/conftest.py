"""A main job of seconds: 60 digits, one tiny network, one pixel of shift."""

import dataclasses
import os

import pytest

from cnnjax.data import DataConfig
from cnnjax.sweep.network import NetworkConfig
from cnnjax.sweep.protocol import ProtocolConfig
from cnnjax.training import TrainConfig
from experiments.augmentation import Config

TINY_FLAGS = (
    *("--data.train-images", "60", "--data.test-images", "20"),
    *("--network.name", "all_conv", "--network.widths", "4", "--network.depth", "1"),
    *("--train.epochs", "2", "--train.batch-size", "20", "--train.label-smoothing", "0"),
    *("--protocol.max-shift", "1", "--protocol.rotation-step", "90", "--protocol.images", "10", "--seeds", "2"),
)
TINY = Config(
    data=DataConfig(train_images=60, test_images=20),
    network=NetworkConfig.of("all_conv", widths=(4,), depth=1),
    train=TrainConfig(epochs=2, batch_size=20),
    protocol=ProtocolConfig(max_shift=1, rotation_step=90.0, images=10),
    augmentations=("none", "both"),
    seeds=2,
)
"""The same settings as `TINY_FLAGS`."""


@pytest.fixture
def tiny(tmp_path):
    """`TINY` in a directory of its own."""
    return dataclasses.replace(TINY, out=tmp_path / "run")


def environment(tmp_path):
    """For a command that a test starts: it finds what those before it in this test have compiled, and nothing else."""
    return {**os.environ, "CNNJAX_CACHE": str(tmp_path / "cache")}
