"""Small valid calls of layers, models and training; of a class, its fields, and then a network drawn with them."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType

from cnnjax import data, models, training
from cnnjax.layers.activations import ALIAS_FREE
from experiments.benchmarks.wrong_arguments.matrix import Arguments

KEY, IMAGES = jax.random.key(0), jnp.full((4, 8, 8, 1), 0.5)
PIXELS, LABELS = np.full((4, 8, 8, 1), 100, np.uint8), np.array([0, 1, 0, 1], np.int32)
MODEL = models.AllConv(num_classes=2, widths=(4,), depth=1, head_width=4)
SPEC = training.StepSpec(MODEL, "sgd", 2, data.apply_augmentation)
CONFIG = training.TrainConfig(epochs=1, batch_size=2)
NONE = data.Augmentation().as_arrays()
HYPER = CONFIG.hyper(4)
SETTINGS = training.Settings(HYPER, NONE)
TOWERS = models.AlexNet(num_classes=2, widths=(4, 4, 4, 4, 4), dense_widths=(4, 4), std=(1 / 255,))


class Net(nnx.Module):
    """A network of NNX."""

    def __init__(self, width: int = 2, *, rngs: nnx.Rngs):
        self.conv = nnx.Conv(1, width, (3, 3), rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits."""
        return self.conv(images).mean((1, 2))


def _mesh() -> Any:
    devices = jax.devices()[:2]  # of one, where there is no other, the functions must say that it is too few
    return jax.make_mesh((len(devices),), ("model",), axis_types=(AxisType.Auto,), devices=devices)


def _state() -> Any:
    return training.init_state(SPEC, KEY, (8, 8, 1))


def _of_steps(**more: Any) -> dict[str, Any]:
    """The arguments of what takes steps of one network."""
    epoch = training.Epoch(jnp.arange(4)[None], jnp.asarray(PIXELS), jnp.asarray(LABELS))
    keys = jax.random.split(KEY, 1)
    return dict(spec=SPEC, states=_states(), keys=keys, epoch=epoch, settings=SETTINGS, **more)


def _states() -> Any:
    return training.init_states(SPEC, [0], (8, 8, 1))


def _torch_module() -> Any:
    try:
        from torch import nn as torch_nn
    except ImportError:
        return None  # which the function refuses for the same reason
    return torch_nn.Conv2d(1, 2, 3)


def _saved() -> pathlib.Path:
    training.save_tree(pathlib.Path("tree.safetensors"), {"a": jnp.ones(2)})
    return pathlib.Path("tree.safetensors")


CALLS: dict[str, Arguments] = {
    **{f"layers.{activation.__name__}": lambda: dict(x=IMAGES) for activation in ALIAS_FREE},
    "layers.delta_orthogonal": lambda: dict(key=KEY, shape=(3, 3, 2, 4), dtype=jnp.float32),
    "layers.standardize": lambda: dict(images=IMAGES, mean=(0.5,), std=(0.25,)),
    "layers.take_phase": lambda: dict(x=IMAGES, phase=jnp.array([0, 1, 2, 3]), stride=2),
    "models.bind": lambda: dict(model=MODEL, variables=_state().variables),
    "models.from_exported": lambda: dict(path="model.pt2", mean=(0.5,), std=(0.25,)),
    "models.from_torch": lambda: dict(module=_torch_module(), image_shape=(8, 8, 1), mean=(0.5,), std=(0.25,)),
    "models.from_nnx": lambda: dict(make=Net),
    "models.load_weights": lambda: dict(name="resnet18", path="resnet18.safetensors"),
    "models.save_weights": lambda: dict(name="resnet18", path="resnet18.safetensors", variables={}),
    "models.split_towers": lambda: dict(tree={"a": jnp.ones((2, 2))}, mesh=_mesh()),
    "models.tower_shardings": lambda: dict(tree={"a": jnp.ones((2, 2))}, mesh=_mesh()),
    "models.two_devices": lambda: dict(model=TOWERS, mesh=_mesh()),
    "training.batch_step": lambda: dict(
        spec=SPEC,
        state=_state(),
        key=KEY,
        pixels=jnp.asarray(PIXELS),
        labels=jnp.asarray(LABELS),
        settings=SETTINGS,
    ),
    "training.check_steps": lambda: dict(states=_states(), path=pathlib.Path("state"), last=4),
    "training.choose_placement": lambda: dict(config=CONFIG, networks=1),
    "training.init_state": lambda: dict(spec=SPEC, key=KEY, image_shape=(8, 8, 1)),
    "training.init_states": lambda: dict(spec=SPEC, seeds=[0], image_shape=(8, 8, 1)),
    "training.learning_rate": lambda: dict(step=jnp.array(1), hyper=HYPER),
    "training.load_tree": lambda: dict(path=_saved(), like={"a": jnp.ones(2)}),
    "training.make_optimizer": lambda: dict(name="sgd", weight_decay=0.1),
    "training.networks_at_once": dict,
    "training.program_key": lambda: dict(spec=SPEC, config=CONFIG, strengths=NONE, images=4),
    "training.read_arrays": lambda: dict(path=_saved()),
    "training.run_steps": lambda: _of_steps(count=1),
    "training.save_tree": lambda: dict(path=pathlib.Path("tree.safetensors"), tree={"a": jnp.ones(2)}),
    "training.stack": lambda: dict(trees=[{"a": jnp.ones(2)}, {"a": jnp.ones(2)}]),
    "training.steps_memory": lambda: _of_steps(),
    "training.timed_steps": lambda: _of_steps(count=1),
    "training.train": lambda: dict(spec=SPEC, config=CONFIG, images=PIXELS, labels=LABELS, strengths=NONE, seeds=[0]),
    "training.train_step": lambda: dict(
        spec=SPEC,
        state=_state(),
        key=KEY,
        epoch=training.Epoch(jnp.arange(4), jnp.asarray(PIXELS), jnp.asarray(LABELS)),
        settings=SETTINGS,
    ),
    "training.train_together": lambda: dict(
        spec=SPEC, trainings=[training.Training(CONFIG, NONE, [0])], images=PIXELS, labels=LABELS
    ),
    "training.unstack": lambda: dict(tree={"a": jnp.ones((2, 2))}, count=2),
    "training.with_recipe": lambda: dict(spec=SPEC, config=CONFIG, networks=2),
    "training.TrainConfig": lambda: dict(epochs=1),
}
