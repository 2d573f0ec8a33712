"""The exercises: a question, what computes its answer, and a hint."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import analysis, models, ops


@dataclasses.dataclass(frozen=True)
class Exercise:
    """A question with a number, or several in a row, for an answer."""

    question: str
    answer: Callable[[], Any]
    """What computes the answer."""
    hint: str
    tolerance: float = 0.0
    """Relative error at which an answer still counts as right."""


def _signal(*values: float | int) -> jax.Array:
    return jnp.asarray(values, jnp.float32).reshape(1, -1, 1)


def _kernel(*values: float | int) -> jax.Array:
    return jnp.asarray(values, jnp.float32).reshape(-1, 1, 1)


def _flip() -> np.ndarray:
    return np.asarray(ops.convolve(_signal(0, 1, 0), _kernel(1, 2, 3), padding="full")).ravel()


def _unread() -> int:
    matrix = np.asarray(ops.conv_matrix(_kernel(1, 1, 1), 10, stride=3, padding="valid"))
    return int((matrix == 0).all(axis=0).sum())


def _sizes_back() -> list[int]:
    return [n for n in range(2, 12) if ops.output_size(n, 3, stride=2, padding=((1, 1),)) == 4]


def _weights(f: Callable[..., Any], kernel: tuple[int, ...], images: tuple[int, ...]) -> int:
    """The parameters of f(kernel, images), which is only traced."""
    described = jax.ShapeDtypeStruct(kernel, jnp.float32)
    return analysis.cost(f, jax.ShapeDtypeStruct(images, jnp.float32), described).parameters


def _dense(kernel: jax.Array, images: jax.Array) -> jax.Array:
    return images.reshape(len(images), -1) @ kernel


def _conv(kernel: jax.Array, images: jax.Array) -> jax.Array:
    return ops.conv(images, kernel)


def _five_to_five() -> list[int]:
    return [_weights(_dense, (5, 5), (1, 5, 1)), _weights(_conv, (3, 1, 1), (1, 5, 1))]


def _photograph() -> list[int]:
    images = (1, 224, 224, 3)
    return [_weights(_dense, (224 * 224 * 3, 64), images), _weights(_conv, (3, 3, 3, 64), images)]


def _peak() -> list[float]:
    image = jnp.zeros((1, 9, 9, 1)).at[0, 4, 4, 0].set(9.0)
    return [float(pool(image, 3, stride=1).max()) for pool in (ops.avg_pool, ops.max_pool)]


def _max_after_shift() -> int:
    signal = _signal(0, 0, 1, 1, 0, 0, 1, 1)
    first, second = (ops.max_pool(jnp.roll(signal, by, axis=1), 2) for by in (0, 1))
    return int((np.asarray(first) != np.asarray(second)).sum())


def _phases() -> list[int]:
    signal = _signal(3, 1, 4, 1, 5, 9, 2, 6)
    found = []
    for pool in (lambda x: x[:, ::2], ops.polyphase_pool):
        sums = [float(pool(jnp.roll(signal, by, axis=1)).sum()) for by in range(8)]
        found.append(sum(s == sums[0] for s in sums))
    return found


def _field(strides: Sequence[int]) -> tuple[int, int]:
    kernel = jnp.ones((3, 3, 1, 1))

    def network(images: jax.Array) -> jax.Array:
        for stride in strides:
            images = ops.conv(images, kernel, stride=stride)
        return images

    field = analysis.receptive_field(network, jax.ShapeDtypeStruct((1, 64, 64, 1), jnp.float32))
    return field.size[0], field.stride[0]


def _layers_to_see(pixels: int) -> int:
    return next(depth for depth in range(1, pixels) if _field((1,) * depth)[0] >= pixels)


def _effective_share() -> float:
    kernel, depth = jnp.full((3, 1, 1), 1 / 3), 20

    def network(signals: jax.Array) -> jax.Array:
        for _ in range(depth):
            signals = ops.conv(signals, kernel)
        return signals

    signal = np.ones((1, 63, 1), np.float32)
    field = analysis.effective_receptive_field(network, signal, unit=(31,))
    return 4 * field.sigma[0] / analysis.receptive_field(network, signal).size[0]


def _free_shifts() -> int:
    kernels = jax.random.uniform(jax.random.key(1), (3, 3, 3, 1, 1))

    def network(images: jax.Array) -> jax.Array:
        for kernel in kernels:
            images = ops.conv(images, kernel, stride=2, padding="circular")
        return images.mean((1, 2))

    image = jax.random.uniform(jax.random.key(0), (1, 16, 16, 1))
    moved = jnp.concatenate([jnp.roll(image, by, axis=2) for by in range(16)])
    answers = np.asarray(network(moved)).ravel()
    return int(np.isclose(answers, answers[0], rtol=1e-5).sum())


def _forced(images: int, right: int, right_after: int) -> int:
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


def _second_layer() -> list[int]:
    return [_weights(_conv_in(towers), (5, 5, 96 // towers, 256), (1, 27, 27, 96)) for towers in (2, 1)]


def _conv_in(groups: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    return lambda kernel, images: ops.conv(images, kernel, groups=groups)


def _gathered() -> int:
    _, shapes = _activations(models.AlexNet(num_classes=1000), 224)
    return int(np.prod(shapes["pool2"])) // 2


def _shortcuts() -> list[int]:
    residual, shapes = _activations(models.resnet56(num_classes=10), 32)
    plain, _ = _activations(models.plain56(num_classes=10), 32)
    return [sum("block" in name for name in shapes), residual - plain]


EXERCISES: dict[str, Exercise] = {
    "flip": Exercise(
        "Convolve the signal 0, 1, 0 with the kernel 1, 2, 3, in full: which five numbers come out?",
        _flip,
        "A peak leaves the kernel behind: as it is in convolution, mirrored in cross-correlation.",
    ),
    "output_size": Exercise(
        "224 pixels, a window of 11, a stride of 4, two pixels of padding on either side: how many outputs?",
        lambda: ops.output_size(224, 11, stride=4, padding=((2, 2),)),
        "⌊(n + 2p − k) / s⌋ + 1, and the bracket rounds down.",
    ),
    "unread": Exercise(
        "10 pixels, a window of 3, a stride of 3, no padding: how many pixels does no window read?",
        _unread,
        "Where does the last window end that still fits?",
    ),
    "sizes_back": Exercise(
        "A convolution with a window of 3, a stride of 2 and a padding of 1 made 4 outputs: of which sizes may its "
        "input have been? The smaller first.",
        _sizes_back,
        "The formula rounds down, so that several sizes have the same outputs: as many as the stride.",
    ),
    "weights": Exercise(
        "From 5 numbers to 5 numbers, without biases: how many weights has a dense layer, how many a convolution with "
        "a window of 3?",
        _five_to_five,
        "One weight for each pair of input and output; one for each place in the window.",
    ),
    "photograph": Exercise(
        "From a photograph of 224×224×3 to 64 outputs, without biases: how many weights has a dense layer of 64 units, "
        "how many a convolution of 3×3 to 64 maps?",
        _photograph,
        "n²cm against k²cm: only one of them knows how large the image is.",
    ),
    "peak": Exercise(
        "One pixel of an image is 9, all others are 0. What is the largest output of an average over 3×3, and what of "
        "a maximum over 3×3, at stride 1?",
        _peak,
        "An average divides by the number of pixels in the window; a maximum keeps what is largest.",
    ),
    "max_after_shift": Exercise(
        "The maxima over pairs of 0, 0, 1, 1, 0, 0, 1, 1 are four numbers. Shift the signal by one, circularly: how "
        "many of the four change?",
        _max_after_shift,
        "Write out the pairs of 1, 0, 0, 1, 1, 0, 0, 1.",
    ),
    "phases": Exercise(
        "Of the eight circular shifts of 3, 1, 4, 1, 5, 9, 2, 6, how many leave the sum of every second number as it "
        "is? And how many, where the phase with the larger norm is taken (`ops.polyphase_pool`)?",
        _phases,
        "There are two phases. A shift by one exchanges them, and the larger norm stays the larger one.",
    ),
    "receptive_field": Exercise(
        "Six convolutions of 3×3 with strides 1, 2, 1, 2, 1, 1: how many pixels wide is the receptive field, and how "
        "far apart are those of neighbours?",
        lambda: _field((1, 2, 1, 2, 1, 1)),
        "r = 1 + Σ (k − 1) times all strides before; neighbours lie the product of all strides apart.",
    ),
    "layers_to_see": Exercise(
        "How many convolutions of 3×3 at stride 1 does it take until a unit sees 28 pixels in a row?",
        lambda: _layers_to_see(28),
        "Each one adds k − 1 = 2 to 1.",
    ),
    "effective_share": Exercise(
        "Twenty convolutions over three numbers with equal weights: which share of the receptive field are four "
        "standard deviations of the effective one?",
        _effective_share,
        "Variances add up: n (k² − 1) / 12. The receptive field is n (k − 1) + 1.",
        tolerance=0.02,
    ),
    "orbits": Exercise(
        "The protocol shows an image under every shift of up to 4 pixels along both axes, and at every 15° round the "
        "circle, without the identity: how many shifts, how many rotations?",
        lambda: [len(analysis.shifts(4).parameters), len(analysis.rotations(15).parameters)],
        "Along an axis there are 2 · 4 + 1 offsets, 0 among them. One member of each family is the identity.",
    ),
    "free_shifts": Exercise(
        "Three convolutions of stride 2 with circular padding, then the mean over the map. Of the shifts by 0 to 15 "
        "pixels to the right, how many leave the answer to every image of 16×16 as it is?",
        _free_shifts,
        "Which shift moves the last map by a whole unit?",
    ),
    "forced": Exercise(
        "A network is right on 9 of 10 images, and on 8 of the 10 after a shift. On how many of them at least does it "
        "give the same answer both times?",
        lambda: _forced(10, 9, 8),
        "It errs once before and twice after: place the errors so that they meet as rarely as they can.",
    ),
    "second_layer": Exercise(
        "AlexNet's second convolution makes 256 maps of 96 by windows of 5×5. Without biases: how many weights has it "
        "in two towers, each of which reads its own maps, and how many where every map is read?",
        _second_layer,
        "In two towers a map is made of 48 others, not of 96.",
    ),
    "gathered": Exercise(
        "Each of two devices holds half of AlexNet's 256 maps of 13×13 before the third convolution, which reads all "
        "of them. How many numbers does each device fetch from the other, for one image?",
        _gathered,
        "What it does not have is the other half of the maps.",
    ),
    "shortcuts": Exercise(
        "A residual network of 56 layers has a first convolution, three stages of blocks of two, and a dense layer. "
        "How many shortcuts has it, and how many parameters more than its plain twin?",
        _shortcuts,
        "6 n + 2 layers have n blocks in a stage. A shortcut adds what is there, and appends zeros where maps grow.",
    ),
}
"""By their names, in the order of the notebooks."""
