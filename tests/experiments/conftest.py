"""A main job of seconds: 60 digits, one tiny network, one pixel of shift."""

import dataclasses
import os
import shutil

import pytest

from cnnjax.data import DataConfig
from cnnjax.training import TrainConfig
from experiments.augmentation import Config
from experiments.common.network import NetworkConfig
from experiments.common.protocol import ProtocolConfig
from tests.conftest import COMPILED

TINY_FLAGS = (
    *("--data.train-images", "60", "--data.test-images", "20"),
    *("--network.widths", "4", "--train.epochs", "2", "--train.batch-size", "20"),
    *("--protocol.max-shift", "1", "--protocol.rotation-step", "90", "--protocol.images", "10", "--seeds", "2"),
)
TINY = Config(
    data=DataConfig(train_images=60, test_images=20),
    network=NetworkConfig(widths=(4,)),
    train=TrainConfig(epochs=2, batch_size=20),
    protocol=ProtocolConfig(max_shift=1, rotation_step=90, images=10),
    augmentations=("none", "both"),
    seeds=2,
)
"""The same settings as `TINY_FLAGS`."""


@pytest.fixture
def tiny(tmp_path):
    """`TINY` in a directory of its own."""
    return dataclasses.replace(TINY, out=tmp_path / "run")


def environment(tmp_path):
    """For a command that a test starts: what this process has compiled is not compiled again.

    The command has a folder of its own, of links: where it is killed, a file may be left that is not whole.
    """
    compiled = tmp_path / "compiled"
    if not compiled.exists():
        COMPILED.mkdir(parents=True, exist_ok=True)
        shutil.copytree(COMPILED, compiled, copy_function=os.link)
    return {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "CNNJAX_CACHE": str(tmp_path / "cache"),
    }
