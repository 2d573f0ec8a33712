"""One training step as a pure function of the state, the data and the key."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from cnnjax.door import checked
from cnnjax.errors import InputError
from cnnjax.networks.calls import apply_in_training, check_is_network, check_network, init
from cnnjax.training.config import Hyper, Settings
from cnnjax.training.devices import Placement

METRICS = ("loss", "accuracy")
"""What a step says of its batch."""
DROPOUT = 2**32 - 1
"""Folded into a training's key for the randomness inside the network: no step has this number."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything a training carries from one step to the next.

    Fields are any pytrees, because transformations rebuild a state around their own placeholders.
    """

    step: PyTree
    """Steps taken, int32; `(seeds,)` where the state of several seeds is stacked."""
    variables: PyTree
    """What `model.apply` takes: `params` and, where the model has any, `batch_stats`."""
    opt_state: PyTree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Epoch:
    """The images that a training sees, and the order in which this epoch goes through them."""

    order: PyTree
    """int `(images,)`: each image's number once; `(networks, images)` where each network has its own."""
    images: PyTree
    """uint8 `(images, height, width, channels)`."""
    labels: PyTree
    """int `(images,)`."""


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """What a compiled step depends on besides shapes. Equal specs share a compilation.

    Raises InputError for a model that is not a network, with what to give in its place.
    """

    model: Any
    """A Flax Linen module, or `models.from_nnx` of an NNX class, that takes images (batch, height, width, channels),
    floats in [0, 1], and returns logits (batch, classes), or these first, as (logits, activations). If its call takes
    `train`, it is told that it trains; dropout and other chance, and the statistics of batches, are found out."""
    optimizer: str
    batch_size: int
    augment: Callable[[Array, Array, Any], Array]
    """`augment(key, images, strengths)`, per image, inside the step."""
    accumulate: int = 1
    """Parts of equal size in which a step goes through its batch, one after the other: less memory, the same gradient.

    But batch normalization is over each part, its running averages move once for each, and dropout is drawn for each.
    """
    placement: Placement | None = None
    """The devices of the step; None: that of its arguments."""

    def __post_init__(self) -> None:
        check_is_network(self.model, "spec.model")


@checked()
def learning_rate(step: Int[Array, ""], hyper: Hyper) -> Float[Array, ""]:
    """Learning rate at a step: linear to the peak, then as the schedule says.

    Half a cosine to zero (Loshchilov & Hutter 2017, eq. 5), or a tenth from each of `hyper.drops` on.
    """
    t = step.astype(jnp.float32)
    rise = (t + 1) / jnp.maximum(hyper.warmup_steps, 1)
    if hyper.drops is None:
        progress = (t - hyper.warmup_steps) / jnp.maximum(hyper.total_steps - hyper.warmup_steps, 1)
        fall = 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(progress, 0, 1)))
    else:
        fall = 0.1 ** (t >= hyper.drops).sum(dtype=jnp.float32)
    return hyper.learning_rate * jnp.where(t < hyper.warmup_steps, jnp.minimum(rise, 1), fall)


@checked()
def make_optimizer(name: str, weight_decay: Float[Array, ""] | float) -> optax.GradientTransformation:
    """The direction of a step, to be scaled by −learning rate. Only kernels decay: arrays of two axes or more."""
    decay = optax.add_decayed_weights(weight_decay, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params))
    if name == "sgd":
        return optax.chain(decay, optax.trace(decay=0.9, nesterov=True))
    if name == "adadelta":
        return optax.chain(decay, optax.scale_by_adadelta())
    return optax.chain(optax.scale_by_adam(), decay)


@checked()
def init_state(spec: StepSpec, key: Key[Array, ""], image_shape: tuple[int, ...]) -> TrainState:
    """A fresh state for images of shape `(height, width, channels)`.

    Eager on purpose: compiled random initialisers cost seconds where a training costs seconds. Lazy, too: the network
    is traced for its parameters, and not run, so no variable may depend on the values of images. Raises `InputError`
    for a network that cannot take them.
    """
    variables = init(spec.model, key, image_shape=image_shape)
    opt_state = make_optimizer(spec.optimizer, 0.0).init(variables["params"])
    return TrainState(jnp.zeros((), jnp.int32), variables, opt_state)


def check_classes(spec: StepSpec, image_shape: tuple[int, ...], labels: np.ndarray) -> None:
    """Raise InputError unless the network can take images (height, width, channels), and has logits for every label."""
    classes = check_network(spec.model, tuple(image_shape))
    for label in (labels.min(initial=0), labels.max(initial=0)):
        if not 0 <= label < classes:
            raise InputError(
                f"labels have {label}, and the network tells {classes} classes apart: give numbers from 0 to "
                f"{classes - 1}, or a network with more logits"
            )


@checked()
def train_step(
    spec: StepSpec, state: TrainState, key: Key[Array, ""], epoch: Epoch, settings: Settings
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """The next state, and this batch's loss and accuracy, both before the update.

    `key` belongs to the training; batch and randomness follow from it and `state.step` only, so a training that is
    resumed at any step goes on exactly as it would have. So do the keys of a network that is random in training.
    """
    pixels, labels = _batch(epoch.order, epoch.images, epoch.labels, step=state.step, size=spec.batch_size)
    return batch_step(spec, state, key, pixels, labels, settings)


@checked()
def batch_step(
    spec: StepSpec,
    state: TrainState,
    key: Key[Array, ""],
    pixels: UInt8[Array, "batch height width channels"],
    labels: Int[Array, " batch"],
    settings: Settings,
) -> tuple[TrainState, dict[str, Float[Array, ""]]]:
    """The step of `train_step` on a batch that has been chosen already, before any augmentation.

    With `spec.placement` each device computes its part of the batch, wherever the pixels lie, and the state that comes
    out lies as the placement says.
    """
    hyper, placement = settings.hyper, spec.placement
    if placement is not None:
        pixels, labels = jax.lax.with_sharding_constraint((pixels, labels), placement.shared)
    images = pixels.astype(jnp.float32) / 255
    x = spec.augment(jax.random.fold_in(key, state.step), images, settings.strengths)
    # Not a child of the step's key: `split` gives the same children as `fold_in`, and augmentation splits that key.
    key = jax.random.fold_in(jax.random.fold_in(key, DROPOUT), state.step)
    params = state.variables["params"]
    rest = {name: value for name, value in state.variables.items() if name != "params"}

    def loss_of(
        params: PyTree, rest: PyTree, x: Array, labels: Array, key: Array
    ) -> tuple[Array, tuple[Array, PyTree]]:
        if placement is not None:
            params = jax.lax.with_sharding_constraint(params, placement.everywhere)
        logits, updated = apply_in_training(spec.model, params, rest, x, key)
        targets = optax.smooth_labels(
            jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.float32),
            hyper.label_smoothing,  # pyright: ignore
        )
        accuracy = (logits.argmax(-1) == labels).astype(jnp.float32).mean()
        return optax.softmax_cross_entropy(logits, targets).mean(), (accuracy, updated)

    found = _in_parts(jax.value_and_grad(loss_of, has_aux=True), spec.accumulate, params, rest, x, labels, key)
    (loss, (accuracy, updated)), gradients = found
    optimizer = make_optimizer(spec.optimizer, hyper.weight_decay)
    direction, opt_state = optimizer.update(gradients, state.opt_state, params)
    rate = learning_rate(state.step, hyper)
    params = jax.tree.map(lambda p, d: p - rate * d, params, direction)
    state = TrainState(state.step + 1, {"params": params, **updated}, opt_state)
    if placement is not None:
        state = jax.lax.with_sharding_constraint(state, placement.of_state(state))
    return state, {"loss": loss, "accuracy": accuracy}


def _in_parts(
    gradient_of: Callable[..., Any], parts: int, params: PyTree, rest: PyTree, x: Array, labels: Array, key: Array
) -> Any:
    """`gradient_of(params, rest, x, labels, key)`, the mean over parts of the batch, which come one after the other.

    Each part goes on with what the one before has made of `rest`, and draws by a key of its own.
    """
    if parts == 1:
        return gradient_of(params, rest, x, labels, key)
    if len(x) % parts:
        raise InputError(f"spec.accumulate={parts} does not divide the batch of {len(x)} images: give a divisor")

    def split(array: Array) -> Array:
        # Every `parts`-th image: a part is spread over the devices as the batch is, and none has to move.
        return jnp.moveaxis(array.reshape(-1, parts, *array.shape[1:]), 1, 0)

    def part(carried: tuple[PyTree, PyTree], own: tuple[Array, Array, Array]) -> tuple[tuple[PyTree, PyTree], None]:
        rest, sums = carried
        (loss, (accuracy, rest)), gradients = gradient_of(params, rest, *own)
        return (rest, jax.tree.map(jnp.add, sums, (loss, accuracy, gradients))), None

    none = jax.tree.map(jnp.zeros_like, (jnp.zeros(()), jnp.zeros(()), params))
    (rest, sums), _ = jax.lax.scan(part, (rest, none), (split(x), split(labels), jax.random.split(key, parts)))
    loss, accuracy, gradients = jax.tree.map(lambda total: total / parts, sums)
    return (loss, (accuracy, rest)), gradients


@checked()
def _batch(
    order: Int[Array, " images"],
    images: UInt8[Array, "images height width channels"],
    labels: Int[Array, " images"],
    *,
    step: PyTree,
    size: int,
) -> tuple[UInt8[Array, "batch height width channels"], Int[Array, " batch"]]:
    """The images of a step and their labels."""
    if len(images) == 0 or len(labels) != len(images):
        raise InputError(f"{len(labels)} labels for {len(images)} images: give one for each, and at least one image")
    if order.shape[0] < size:
        raise InputError(f"the order has {order.shape[0]} images, fewer than a batch of {size}")
    per_epoch = order.shape[0] // size
    chosen = jax.lax.dynamic_slice_in_dim(order, (step % per_epoch) * size, size)
    return images[chosen], labels[chosen]
