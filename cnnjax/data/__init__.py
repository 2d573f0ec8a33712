"""Images: where they come from, the decoded dataset, augmentation inside jit, and an epoch's order."""

from cnnjax.data import shapes
from cnnjax.data.augment import random_crop, random_flip, random_rotation, random_shift
from cnnjax.data.augmentation import Augmentation, apply_augmentation
from cnnjax.data.color_jitter import random_color
from cnnjax.data.config import DataConfig
from cnnjax.data.dataset import Dataset, Split, load
from cnnjax.data.order import epoch_order
from cnnjax.data.pairs import shape_pairs
from cnnjax.data.photographs import CARRIED_IMAGES, TEXTURES, central_square, load_image, resize
from cnnjax.data.shuffling import shuffle_patches
from cnnjax.data.stored import StoredImages
from cnnjax.data.streaming import blocks, streamed_batches

__all__ = [
    "CARRIED_IMAGES",
    "TEXTURES",
    "Augmentation",
    "DataConfig",
    "Dataset",
    "Split",
    "StoredImages",
    "apply_augmentation",
    "blocks",
    "central_square",
    "epoch_order",
    "load",
    "load_image",
    "random_color",
    "random_crop",
    "random_flip",
    "random_rotation",
    "random_shift",
    "resize",
    "shape_pairs",
    "shapes",
    "shuffle_patches",
    "streamed_batches",
]
