"""The exercises: a question, what computes its answer, and a hint."""

import dataclasses
from collections.abc import Callable
from typing import Any

from cnnjax import analysis, ops
from cnnjax.course import answers


@dataclasses.dataclass(frozen=True)
class Exercise:
    """A question with a number, or several in a row, for an answer."""

    question: str
    answer: Callable[[], Any]
    """What computes the answer."""
    hint: str
    tolerance: float = 0.0
    """Relative error at which an answer still counts as right."""


EXERCISES: dict[str, Exercise] = {
    "flip": Exercise(
        "Convolve the signal 0, 1, 0 with the kernel 1, 2, 3, in full: which five numbers come out?",
        answers.flip,
        "A peak leaves the kernel behind: as it is in convolution, mirrored in cross-correlation.",
    ),
    "output_size": Exercise(
        "224 pixels, a window of 11, a stride of 4, two pixels of padding on either side: how many outputs?",
        lambda: ops.output_size(224, 11, stride=4, padding=((2, 2),)),
        "⌊(n + 2p − k) / s⌋ + 1, and the bracket rounds down.",
    ),
    "unread": Exercise(
        "10 pixels, a window of 3, a stride of 3, no padding: how many pixels does no window read?",
        answers.unread,
        "Where does the last window end that still fits?",
    ),
    "sizes_back": Exercise(
        "A convolution with a window of 3, a stride of 2 and a padding of 1 made 4 outputs: of which sizes may its "
        "input have been? The smaller first.",
        answers.sizes_back,
        "The formula rounds down, so that several sizes have the same outputs: as many as the stride.",
    ),
    "weights": Exercise(
        "From 5 numbers to 5 numbers, without biases: how many weights has a dense layer, how many a convolution with "
        "a window of 3?",
        answers.five_to_five,
        "One weight for each pair of input and output; one for each place in the window.",
    ),
    "photograph": Exercise(
        "From a photograph of 224×224×3 to 64 outputs, without biases: how many weights has a dense layer of 64 units, "
        "how many a convolution of 3×3 to 64 maps?",
        answers.photograph,
        "n²cm against k²cm: only one of them knows how large the image is.",
    ),
    "peak": Exercise(
        "One pixel of an image is 9, all others are 0. What is the largest output of an average over 3×3, and what of "
        "a maximum over 3×3, at stride 1?",
        answers.peak,
        "An average divides by the number of pixels in the window; a maximum keeps what is largest.",
    ),
    "max_after_shift": Exercise(
        "The maxima over pairs of 0, 0, 1, 1, 0, 0, 1, 1 are four numbers. Shift the signal by one, circularly: how "
        "many of the four change?",
        answers.max_after_shift,
        "Write out the pairs of 1, 0, 0, 1, 1, 0, 0, 1.",
    ),
    "phases": Exercise(
        "Of the eight circular shifts of 3, 1, 4, 1, 5, 9, 2, 6, how many leave the sum of every second number as it "
        "is? And how many, where the phase with the larger norm is taken (`ops.polyphase_pool`)?",
        answers.phases,
        "There are two phases. A shift by one exchanges them, and the larger norm stays the larger one.",
    ),
    "receptive_field": Exercise(
        "Six convolutions of 3×3 with strides 1, 2, 1, 2, 1, 1: how many pixels wide is the receptive field, and how "
        "far apart are those of neighbours?",
        lambda: answers.field((1, 2, 1, 2, 1, 1)),
        "r = 1 + Σ (k − 1) times all strides before; neighbours lie the product of all strides apart.",
    ),
    "layers_to_see": Exercise(
        "How many convolutions of 3×3 at stride 1 does it take until a unit sees 28 pixels in a row?",
        lambda: answers.layers_to_see(28),
        "Each one adds k − 1 = 2 to 1.",
    ),
    "effective_share": Exercise(
        "Twenty convolutions over three numbers with equal weights: which share of the receptive field are four "
        "standard deviations of the effective one?",
        answers.effective_share,
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
        answers.free_shifts,
        "Which shift moves the last map by a whole unit?",
    ),
    "forced": Exercise(
        "A network is right on 9 of 10 images, and on 8 of the 10 after a shift. On how many of them at least does it "
        "give the same answer both times?",
        lambda: answers.forced(10, 9, 8),
        "It errs once before and twice after: place the errors so that they meet as rarely as they can.",
    ),
    "second_layer": Exercise(
        "AlexNet's second convolution makes 256 maps of 96 by windows of 5×5. Without biases: how many weights has it "
        "in two towers, each of which reads its own maps, and how many where every map is read?",
        answers.second_layer,
        "In two towers a map is made of 48 others, not of 96.",
    ),
    "gathered": Exercise(
        "Each of two devices holds half of AlexNet's 256 maps of 13×13 before the third convolution, which reads all "
        "of them. How many numbers does each device fetch from the other, for one image?",
        answers.gathered,
        "What it does not have is the other half of the maps.",
    ),
    "shortcuts": Exercise(
        "A residual network of 56 layers has a first convolution, three stages of blocks of two, and a dense layer; "
        "its shortcuts append zeros where shapes change. How many shortcuts has it, and how many parameters more than "
        "its plain twin?",
        answers.shortcuts,
        "6 n + 2 layers have n blocks in a stage. A shortcut adds what is there, and appends zeros where maps grow.",
    ),
    "backward": Exercise(
        "relu(a) + relu(b) − relu(c), at a = 1, b = −1, c = 1: what are its derivatives by a, b and c, and what does "
        "the deconvnet make of a signal of 1 at the output? Six numbers.",
        answers.backward,
        "At a rectifier the gradient asks what went forward, the deconvnet whether what comes back is positive.",
    ),
    "integrated": Exercise(
        "f(a, b) = max(0, a + b − 1), at a = b = 1: what is its derivative by a, and what the integrated gradient of "
        "a from a baseline of 0?",
        answers.integrated,
        "On the way from 0 to 1 the derivative is 0 as long as a + b < 1.",
    ),
    "grad_cam": Exercise(
        "Two maps of 2×2: one is 4 at the first place, the other 2 at the last, and 0 elsewhere. A class's score is "
        "the mean of the one less the mean of the other. What has Grad-CAM at the first place, and what at the last?",
        answers.grad_cam,
        "Each map is weighted by the mean of the score's derivatives by its four numbers; the sum is rectified.",
    ),
    "ramp": Exercise(
        "Three rows of ten pixels, each pixel brighter by 0.1 than the one on its left. By how much does a patch of "
        "3×3 differ (RMS) from the nearest that does not overlap it?",
        answers.ramp,
        "The nearest lies three pixels to the side, and differs by the same in every pixel.",
        tolerance=0.01,
    ),
    "rolled": Exercise(
        "A jigsaw puzzle of 2×3 pieces was put together well, but for its last column, which stands at the front. "
        "Which share of the pieces is in its place, and which share of the true neighbours are neighbours?",
        answers.rolled,
        "There are 2 · 2 pairs side by side and 3 pairs one above the other.",
    ),
}
"""By their names, in the order of the notebooks."""
