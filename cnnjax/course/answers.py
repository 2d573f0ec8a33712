"""What computes the answers of the exercises, with the library itself."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import analysis, jigsaw, models, ops, patches


def _signal(*values: float | int) -> jax.Array:
    return jnp.asarray(values, jnp.float32).reshape(1, -1, 1)


def _kernel(*values: float | int) -> jax.Array:
    return jnp.asarray(values, jnp.float32).reshape(-1, 1, 1)


def flip() -> np.ndarray:
    return np.asarray(ops.convolve(_signal(0, 1, 0), _kernel(1, 2, 3), padding="full")).ravel()


def unread() -> int:
    matrix = np.asarray(ops.conv_matrix(_kernel(1, 1, 1), 10, stride=3, padding="valid"))
    return int((matrix == 0).all(axis=0).sum())


def sizes_back() -> list[int]:
    return [n for n in range(2, 12) if ops.output_size(n, 3, stride=2, padding=((1, 1),)) == 4]


def _weights(f: Callable[..., Any], kernel: tuple[int, ...], images: tuple[int, ...]) -> int:
    """The parameters of f(kernel, images), which is only traced."""
    described = jax.ShapeDtypeStruct(kernel, jnp.float32)
    return analysis.cost(f, jax.ShapeDtypeStruct(images, jnp.float32), described).parameters


def _dense(kernel: jax.Array, images: jax.Array) -> jax.Array:
    return images.reshape(len(images), -1) @ kernel


def _conv(kernel: jax.Array, images: jax.Array) -> jax.Array:
    return ops.conv(images, kernel)


def five_to_five() -> list[int]:
    return [_weights(_dense, (5, 5), (1, 5, 1)), _weights(_conv, (3, 1, 1), (1, 5, 1))]


def photograph() -> list[int]:
    images = (1, 224, 224, 3)
    return [_weights(_dense, (224 * 224 * 3, 64), images), _weights(_conv, (3, 3, 3, 64), images)]


def peak() -> list[float]:
    image = jnp.zeros((1, 9, 9, 1)).at[0, 4, 4, 0].set(9.0)
    return [float(pool(image, 3, stride=1).max()) for pool in (ops.avg_pool, ops.max_pool)]


def max_after_shift() -> int:
    signal = _signal(0, 0, 1, 1, 0, 0, 1, 1)
    first, second = (ops.max_pool(jnp.roll(signal, by, axis=1), 2) for by in (0, 1))
    return int((np.asarray(first) != np.asarray(second)).sum())


def phases() -> list[int]:
    signal = _signal(3, 1, 4, 1, 5, 9, 2, 6)
    found = []
    for pool in (lambda x: x[:, ::2], ops.polyphase_pool):
        sums = [float(pool(jnp.roll(signal, by, axis=1)).sum()) for by in range(8)]
        found.append(sum(s == sums[0] for s in sums))
    return found


def field(strides: Sequence[int]) -> tuple[int, int]:
    kernel = jnp.ones((3, 3, 1, 1))

    def network(images: jax.Array) -> jax.Array:
        for stride in strides:
            images = ops.conv(images, kernel, stride=stride)
        return images

    field = analysis.receptive_field(network, jax.ShapeDtypeStruct((1, 64, 64, 1), jnp.float32))
    return field.size[0], field.stride[0]


def layers_to_see(pixels: int) -> int:
    return next(depth for depth in range(1, pixels) if field((1,) * depth)[0] >= pixels)


def effective_share() -> float:
    kernel, depth = jnp.full((3, 1, 1), 1 / 3), 20

    def network(signals: jax.Array) -> jax.Array:
        for _ in range(depth):
            signals = ops.conv(signals, kernel)
        return signals

    signal = np.ones((1, 63, 1), np.float32)
    field = analysis.effective_receptive_field(network, signal, unit=(31,))
    return 4 * field.sigma[0] / analysis.receptive_field(network, signal).size[0]


def free_shifts() -> int:
    kernels = jax.random.uniform(jax.random.key(1), (3, 3, 3, 1, 1))

    def network(images: jax.Array) -> jax.Array:
        for kernel in kernels:
            images = ops.conv(images, kernel, stride=2, padding="circular")
        return images.mean((1, 2))

    image = jax.random.uniform(jax.random.key(0), (1, 16, 16, 1))
    moved = jnp.concatenate([jnp.roll(image, by, axis=2) for by in range(16)])
    answers = np.asarray(network(moved)).ravel()
    return int(np.isclose(answers, answers[0], rtol=1e-5).sum())


def forced(images: int, right: int, right_after: int) -> int:
    """The fewest images with the same answer both times, over all ways to be right on so many."""
    before = set(range(right))
    return min(len(before & set(after)) for after in itertools.combinations(range(images), right_after))


def _activations(model: models.ConvNet | models.AlexNet, side: int) -> tuple[int, dict[str, tuple[int, ...]]]:
    """The parameters of a network and the shapes of its activations, which is only traced."""
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    _, activations = jax.eval_shape(model.apply, variables, images)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    return parameters, {name: a.shape for name, a in activations.items()}


def second_layer() -> list[int]:
    return [_weights(_conv_in(towers), (5, 5, 96 // towers, 256), (1, 27, 27, 96)) for towers in (2, 1)]


def _conv_in(groups: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    return lambda kernel, images: ops.conv(images, kernel, groups=groups)


def gathered() -> int:
    _, shapes = _activations(models.AlexNet(num_classes=1000), 224)
    return int(np.prod(shapes["pool2"])) // 2


def shortcuts() -> list[int]:
    residual, shapes = _activations(models.resnet56(num_classes=10), 32)
    plain, _ = _activations(models.plain56(num_classes=10), 32)
    return [sum("block" in name for name in shapes), residual - plain]


def backward() -> list[float]:
    def f(pixels: jax.Array) -> jax.Array:
        return jax.nn.relu(pixels[..., 0]) @ jnp.array([[1.0], [1.0], [-1.0]])

    signal = _signal(1, -1, 1)
    both = [analysis.saliency(f, signal, rule=rule, value_range=None).maps for rule in ("gradient", "deconvnet")]
    return np.ravel(both).tolist()


def integrated() -> list[float]:
    def f(pixels: jax.Array) -> jax.Array:
        return jax.nn.relu(pixels.sum(1) - 1)

    ways = (analysis.saliency, analysis.integrated_gradients)
    return [float(way(f, _signal(1, 1)).maps[0, 0, 0]) for way in ways]


def grad_cam() -> list[float]:
    images = np.zeros((1, 2, 2, 2), np.float32)
    images[0, 0, 0, 0], images[0, 1, 1, 1] = 4, 2

    def f(images: jax.Array) -> dict[str, jax.Array]:
        maps = 1 * images
        return {"maps": maps, "logits": maps.mean((1, 2)) @ jnp.array([[1.0], [-1.0]])}

    found = analysis.grad_cam(f, images, "maps", value_range=None).maps[0, ..., 0]
    return [float(found[0, 0]), float(found[1, 1])]


def ramp() -> float:
    ramp = jnp.tile(jnp.arange(10) / 10, (3, 1))
    return float(jnp.sqrt(patches.nearest_patches(ramp, ramp, patch_size=3, exclusion=3).distance).mean())


def rolled() -> tuple[float, ...]:
    pieces, unturned = np.arange(6).reshape(2, 3), np.zeros((2, 3), int)
    rolled = jigsaw.Arrangement(np.roll(pieces, 1, axis=1), unturned)
    return tuple(jigsaw.score(rolled, jigsaw.Arrangement(pieces, unturned)))
