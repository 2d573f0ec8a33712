"""A small network that says how ill two borders fit, and its training on photographs."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

_WINDOW = 3


class BorderNetwork(nn.Module):
    """Rows of pixels across the border of two pieces to one number: two layers of 3-row windows, a mean, one unit.

    A row is nine numbers: the steps of colour inside the left piece, across the border, and inside the right one.
    """

    features: int = 24

    @nn.compact
    def __call__(self, rows: Float[Array, "*pairs side 9"]) -> Float[Array, "*pairs"]:
        x = rows
        for _ in range(2):
            # A convolution as a product: inside the loop over borders that is the fast path of a CPU.
            windows = jnp.stack([x[..., i : x.shape[-2] - _WINDOW + 1 + i, :] for i in range(_WINDOW)], axis=-2)
            x = nn.relu(nn.Dense(self.features)(windows.reshape(*windows.shape[:-2], -1)))
        return nn.Dense(1)(x.mean(axis=-2))[..., 0]


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a training depends on: its steps, the borders in a batch, and the learning rate that falls to 0."""

    steps: int
    batch: int = 48
    learning_rate: float = 3e-3


def misfits(params: PyTree, right: Float[Array, "m side 2 3"], left: Float[Array, "n side 2 3"]) -> Float[Array, "m n"]:
    """The network's value of every pair plus that of the pair turned round; the lower, the better they fit."""

    def compare(a: Array, b: Array) -> Array:
        inside, beyond = jnp.broadcast_to((a[:, 1] - a[:, 0])[None], b[:, :, 0].shape), b[:, :, 0] - b[:, :, 1]
        across = b[:, :, 1] - a[None, :, 1]
        rows = jnp.concatenate([inside, across, -beyond], axis=-1)
        # Turned round, rows run upwards, and each step is taken from the other end.
        around = jnp.concatenate([beyond, -across, -inside], axis=-1)[:, ::-1]
        return BorderNetwork().apply(params, scale * rows) + BorderNetwork().apply(params, scale * around)  # pyright: ignore

    scale = jnp.asarray(10, right.dtype)  # steps are of a few hundredths
    return jax.lax.map(lambda border: compare(border, left), right)


@dataclasses.dataclass(frozen=True, eq=False)
class Learned:
    """A trained network as a `Dissimilarity`, equal only to itself: programs are compiled with its parameters."""

    params: PyTree

    def __call__(self, right: Array, left: Array) -> Array:
        # exp: costs are compared by their ratios, misfits by their differences. No float32 holds exp(90).
        return jnp.exp(jnp.clip(misfits(self.params, right, left), -80, 80))


def borders(
    image: Float[Array, "height width 3"], size: Int[Array, " 2"], key: Key[Array, ""], *, side: int, count: int
) -> tuple[Array, Array]:
    """`count` pairs of borders that touch, facing right and facing left, from random places of an image.

    Only its first `size` rows and columns are used. Half of the pairs are upside down.
    """
    for_y, for_x, for_flip = jax.random.split(key, 3)
    y = jax.random.randint(for_y, (count,), 0, size[0] - side + 1)
    x = jax.random.randint(for_x, (count,), 0, size[1] - 3)
    strips = jax.vmap(lambda y, x: jax.lax.dynamic_slice(image, (y, x, 0), (side, 4, 3)))(y, x)
    strips = jnp.where(jax.random.bernoulli(for_flip, shape=(count, 1, 1, 1)), strips[:, ::-1], strips)
    return strips[:, :, :2], strips[:, :, :1:-1]


@functools.partial(jax.jit, static_argnames=("spec", "side"), donate_argnums=(0, 1))
def _step(
    params: PyTree, state: PyTree, image: Array, size: Array, key: Array, *, spec: Spec, side: int
) -> tuple[PyTree, PyTree, Array]:
    right, left = borders(image, size, key, side=side, count=spec.batch)

    def loss_of(params: PyTree) -> Array:
        logits, own = -misfits(params, right, left), jnp.arange(spec.batch)
        from_either = (optax.softmax_cross_entropy_with_integer_labels(x, own).mean() for x in (logits, logits.T))
        return sum(from_either) / 2  # pyright: ignore[reportReturnType]

    loss, gradients = jax.value_and_grad(loss_of)(params)
    updates, state = _optimizer(spec).update(gradients, state, params)
    return optax.apply_updates(params, updates), state, loss


def train(
    images: Sequence[Float[Array, "height width 3"]],
    key: Key[Array, ""],
    *,
    spec: Spec,
    side: int,
    progress: Callable[[int, int, str], None],
) -> PyTree:
    """Train a network on photographs, upright and on their side in turn, one in each step.

    Of all borders in a batch, each is to fit its own neighbour best, seen from either (cross-entropy).
    """
    both = [turned for image in images for turned in (image, jnp.rot90(image))]
    longest = max(max(image.shape) for image in both)
    # Of one size, so that one program is compiled.
    padded = [jnp.pad(x, ((0, longest - x.shape[0]), (0, longest - x.shape[1]), (0, 0))) for x in both]
    sizes = [jnp.asarray(x.shape[:2]) for x in both]
    for_params, for_steps = jax.random.split(key)
    params = BorderNetwork().init(for_params, jnp.zeros((1, side, 9)))
    state = _optimizer(spec).init(params)
    for i in range(spec.steps):
        which, step_key = i % len(both), jax.random.fold_in(for_steps, i)
        params, state, loss = _step(params, state, padded[which], sizes[which], step_key, spec=spec, side=side)
        if i % 50 == 0:
            progress(i, spec.steps, f"loss {float(loss):.2f}")
    return params


def _optimizer(spec: Spec) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(spec.learning_rate, spec.steps))
