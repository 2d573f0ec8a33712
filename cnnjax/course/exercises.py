"""The exercises: a question, what computes its answer, and a hint."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnnjax import analysis, jigsaw, ops, patches


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


def _backward() -> list[float]:
    def f(pixels: jax.Array) -> jax.Array:
        return jax.nn.relu(pixels[..., 0]) @ jnp.array([[1.0], [1.0], [-1.0]])

    signal = _signal(1, -1, 1)
    both = [analysis.saliency(f, signal, rule=rule, value_range=None).maps for rule in ("gradient", "deconvnet")]
    return np.ravel(both).tolist()


def _integrated() -> list[float]:
    def f(pixels: jax.Array) -> jax.Array:
        return jax.nn.relu(pixels.sum(1) - 1)

    ways = (analysis.saliency, analysis.integrated_gradients)
    return [float(way(f, _signal(1, 1)).maps[0, 0, 0]) for way in ways]


def _grad_cam() -> list[float]:
    images = np.zeros((1, 2, 2, 2), np.float32)
    images[0, 0, 0, 0], images[0, 1, 1, 1] = 4, 2

    def f(images: jax.Array) -> dict[str, jax.Array]:
        maps = 1 * images
        return {"maps": maps, "logits": maps.mean((1, 2)) @ jnp.array([[1.0], [-1.0]])}

    found = analysis.grad_cam(f, images, "maps", value_range=None).maps[0, ..., 0]
    return [float(found[0, 0]), float(found[1, 1])]


def _ramp() -> float:
    ramp = jnp.tile(jnp.arange(10) / 10, (3, 1))
    return float(jnp.sqrt(patches.nearest_patches(ramp, ramp, patch_size=3, exclusion=3).distance).mean())


def _rolled() -> tuple[float, ...]:
    pieces, unturned = np.arange(6).reshape(2, 3), np.zeros((2, 3), int)
    rolled = jigsaw.Arrangement(np.roll(pieces, 1, axis=1), unturned)
    return tuple(jigsaw.score(rolled, jigsaw.Arrangement(pieces, unturned)))


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
    "backward": Exercise(
        "relu(a) + relu(b) − relu(c), at a = 1, b = −1, c = 1: what are its derivatives by a, b and c, and what does "
        "the deconvnet make of a signal of 1 at the output? Six numbers.",
        _backward,
        "At a rectifier the gradient asks what went forward, the deconvnet whether what comes back is positive.",
    ),
    "integrated": Exercise(
        "f(a, b) = max(0, a + b − 1), at a = b = 1: what is its derivative by a, and what the integrated gradient of "
        "a from a baseline of 0?",
        _integrated,
        "On the way from 0 to 1 the derivative is 0 as long as a + b < 1.",
    ),
    "grad_cam": Exercise(
        "Two maps of 2×2: one is 4 at the first place, the other 2 at the last, and 0 elsewhere. A class's score is "
        "the mean of the one less the mean of the other. What has Grad-CAM at the first place, and what at the last?",
        _grad_cam,
        "Each map is weighted by the mean of the score's derivatives by its four numbers; the sum is rectified.",
    ),
    "ramp": Exercise(
        "Three rows of ten pixels, each pixel brighter by 0.1 than the one on its left. By how much does a patch of "
        "3×3 differ (RMS) from the nearest that does not overlap it?",
        _ramp,
        "The nearest lies three pixels to the side, and differs by the same in every pixel.",
        tolerance=0.01,
    ),
    "rolled": Exercise(
        "A jigsaw puzzle of 2×3 pieces was put together well, but for its last column, which stands at the front. "
        "Which share of the pieces is in its place, and which share of the true neighbours are neighbours?",
        _rolled,
        "There are 2 · 2 pairs side by side and 3 pairs one above the other.",
    ),
}
"""By their names, in the order of the notebooks."""
