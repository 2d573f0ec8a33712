"""A run of two tiny networks that nothing has trained, for the explorer to show; and what a page holds."""

import base64
from pathlib import Path

import jax
import numpy as np

from cnnjax import models
from cnnjax.data import DataConfig, load
from cnnjax.program.names import path_name
from cnnjax.runs import open_run
from cnnjax.sweep.cell import WEIGHTS
from cnnjax.sweep.describe import describe
from cnnjax.sweep.network import NetworkConfig, build
from cnnjax.sweep.traced import shapes_of
from cnnjax.training import TrainConfig
from experiments import explorer

TINY = explorer.Config(
    data=DataConfig(train_images=60, test_images=20, size=10, canvas=14),
    network=NetworkConfig.of("all_conv", widths=(3, 4), depth=1, downsample="max", head="average"),
    train=TrainConfig(epochs=2, batch_size=20),
    crop=1,
    images=6,
)
KINDS = {
    "residual": models.ResNet(
        num_classes=10, widths=(4, 8), depth=1, stem="7x7", padding="circular", downsample="blur"
    ),
    "group": models.AllConv(
        num_classes=10, widths=(8,), depth=1, group="p4", downsample="average", activation=jax.nn.silu
    ),
    "alias-free": models.AllConv(
        num_classes=10, widths=(4,), depth=1, downsample="alias_free", padding="reflect", norm="layer", head="dense"
    ),
    "polyphase": models.ResNet(
        num_classes=10, widths=(4, 8), depth=1, stem="3x3", padding="circular", downsample="polyphase"
    ),
}
"""Networks of other kinds, by what is special about them."""

CONVOLUTION = """(() => {
  const image = explorer.carriedImage(0);
  const kernel = explorer.array([3, 3, 1, 1], Float32Array.from(%s));
  return %s.map(([padding, stride, dilation]) => {
    const map = explorer.mapOf(image, kernel, 0, { padding, stride, dilation });
    return [map.shape, Array.from(map.data)];
  });
})()"""
"""Maps of an image of the page, in JavaScript, by a kernel and for options of a convolution."""

CELLS = ("augmentation=none", "augmentation=both")


def drawn(model, shape, seed):
    """Variables of a network for images of this shape, every one of them drawn, variances above 0."""
    random = np.random.default_rng(seed)

    def one(path, leaf):
        values = random.normal(size=leaf.shape).astype(np.float32)
        return 0.5 + np.abs(values) if path_name(path).endswith("var") else 0.5 * values

    return jax.tree.map_with_path(one, shapes_of(model, shape)[1])


def keep_networks(path: Path) -> Path:
    """A run in that directory which has kept a network for each of the cells."""
    dataset = load(TINY.data)
    model = build(TINY.network, dataset)
    with open_run("explorer", TINY, out=path) as run:
        for seed, cell in enumerate(CELLS):
            networks = jax.tree.map(lambda leaf: leaf[None], drawn(model, dataset.test.images.shape[1:], seed))
            run.cell(cell).save(WEIGHTS, networks, network=describe(model))
        return run.path


def decoded(text, dtype, shape=(-1,)):
    """An array that a page holds as base64."""
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


def images_of(document):
    """The images of a page, in [0, 1]."""
    return decoded(document["images"], np.uint8, (-1, *document["size"])).astype(np.float32) / np.float32(255)
