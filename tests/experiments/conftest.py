"""A main job of seconds: 120 digits, one tiny network, one pixel of shift."""

import pytest

from cnnjax.data import DataConfig
from cnnjax.training import TrainConfig
from experiments.augmentation import Config
from experiments.common.network import NetworkConfig
from experiments.common.protocol import ProtocolConfig

TINY_FLAGS = (
    *("--data.train-images", "60", "--data.test-images", "20"),
    *("--network.widths", "4", "8", "--train.epochs", "2", "--train.batch-size", "20"),
    *("--protocol.max-shift", "1", "--protocol.rotation-step", "90", "--protocol.images", "10", "--seeds", "2"),
)


@pytest.fixture
def tiny(tmp_path):
    """The same settings as `TINY_FLAGS`, in a directory of their own."""
    return Config(
        data=DataConfig(train_images=60, test_images=20),
        network=NetworkConfig(widths=(4, 8)),
        train=TrainConfig(epochs=2, batch_size=20),
        protocol=ProtocolConfig(max_shift=1, rotation_step=90, images=10),
        augmentations=("none", "both"),
        seeds=2,
        out=tmp_path / "run",
    )
