"""Convolution arithmetic as drawn: every frame has the numbers, and reads the pixels, that the operation does."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from cnnjax import InputError, ops
from cnnjax.figures import convolution_steps
from cnnjax.figures.convolution_drawing import short
from tests.repeats import repeated

CASES = {
    "even, asymmetric, strided": ((5, 4), (2, 3), dict(stride=(2, 1), padding=((0, 2), (3, 1)))),
    "circular, dilated": ((5,), (3,), dict(padding="circular", dilation=2)),
    "reflected, even": ((4, 5), (2, 2), dict(padding="reflect", stride=2)),
    "none": ((5, 5), (3, 3), dict(padding="valid")),
    "full": ((3, 4), (3, 2), dict(padding="full")),
    "same, even": ((6,), (4,), dict()),
    "same, dilated unequally": ((5, 6), (2, 2), dict(dilation=(1, 3))),
    "rows left unread": ((8,), (3,), dict(stride=3, padding="valid")),
    "XLA's rule": ((7, 6), (3, 3), dict(stride=2, padding="same_xla")),
    "circular, strided": ((6, 5), (3, 4), dict(stride=2, padding="circular")),
    "wider than the map": ((2,), (5,), dict(padding=4, stride=2)),
    "one tap": ((4, 4), (1, 1), dict(stride=3, padding=1)),
}
CHOSEN = repeated([(CASES[name],) for name in CASES], quick=4)


def numbered(shape):
    return np.arange(1.0, np.prod(shape) + 1).reshape(shape)


def pixels_weighed(steps, kernel, size):
    """What each pixel of an input of that many counts in each output; the input's numbers are those of its pixels."""
    found = np.zeros((len(steps), size))
    for row, step in zip(found, steps.steps, strict=True):
        for cell, tap in zip(step.cells, step.taps, strict=True):
            number = int(steps.grid[cell])
            if number:
                row[number - 1] += kernel[tap]
    return found


@pytest.mark.parametrize("case", CHOSEN)
def test_each_frame_reads_what_the_convolution_reads(case):
    size, window, options = case
    kernel = np.random.default_rng(0).integers(-4, 5, window).astype(np.float32)
    steps = convolution_steps(numbered(size), kernel, **options)
    matrix = np.asarray(ops.conv_matrix(kernel[..., None, None], size, **options))
    np.testing.assert_array_equal(pixels_weighed(steps, kernel, np.prod(size)), matrix)
    x = numbered(size).astype(np.float32)[None, ..., None]
    expected = np.asarray(ops.conv(x, kernel[..., None, None], **options))[0, ..., 0]
    np.testing.assert_allclose(steps.output, expected, rtol=1e-6)
    assert [step.output for step in steps.steps] == list(np.ndindex(expected.shape))
    np.testing.assert_allclose([step.value for step in steps.steps], expected.ravel(), rtol=1e-6)


@pytest.mark.parametrize("case", CHOSEN)
def test_each_frame_reads_what_the_transposed_convolution_reads(case):
    size, window, options = case
    kernel = np.random.default_rng(0).integers(-4, 5, window).astype(np.float32)
    matrix = np.asarray(ops.conv_matrix(kernel[..., None, None], size, **options))
    outputs = convolution_steps(numbered(size), kernel, **options).output.shape
    y = numbered(outputs)
    steps = convolution_steps(y, kernel, input_size=size, **options)
    np.testing.assert_array_equal(pixels_weighed(steps, kernel, y.size), matrix.T)
    expected = np.asarray(
        ops.conv_transpose(y.astype(np.float32)[None, ..., None], kernel[..., None, None], input_size=size, **options)
    )
    np.testing.assert_allclose(steps.output, expected[0, ..., 0], rtol=1e-6, atol=1e-5)


def test_padding_and_what_a_stride_spreads_out_are_told_apart():
    padded = convolution_steps([1, 2, 3], [1, 1], padding=((1, 0),))
    assert padded.kinds.tolist() == ["border", "input", "input", "input"]
    spread = convolution_steps([5, 7], [1, 2, 3], input_size=5, stride=2, padding="valid")
    assert spread.kinds.tolist() == ["border", "border", "input", "gap", "input", "border", "border"]
    assert spread.grid.tolist() == [0, 0, 5, 0, 7, 0, 0]
    # By hand: 5·(1, 2, 3) and, two further on, 7·(1, 2, 3).
    assert spread.output.tolist() == [5, 10, 22, 14, 21]


def words(drawing):
    return [element.text for element in ElementTree.fromstring(str(drawing)).iter() if element.tag.endswith("text")]


def test_a_frame_shows_its_sum_and_the_outputs_so_far():
    steps = convolution_steps([[1, 2], [3, 4]], [[10, 1]], padding="valid")
    assert steps.output.tolist() == [[12], [34]]
    first, second = words(steps.frame(0)), words(steps.frame(1))
    assert "10·1 + 1·2 = 12" in first
    assert "10·3 + 1·4 = 34" in second
    assert ("12" in first, "34" in first) == (True, False)
    assert ("12" in second, "34" in second) == (True, True)
    assert words(steps.frame(-1)) == second
    with pytest.raises(InputError, match="number=2 is not a frame"):
        steps.frame(2)


def test_the_svg_plays_without_a_script_and_shows_the_same_groups_as_the_frames():
    steps = convolution_steps([1, 2, 3, 4], [1, 1], padding="valid")
    text = str(steps)
    assert "<script" not in text
    groups = [g for g in ElementTree.fromstring(text).iter() if g.tag.endswith("}g")]
    for number in range(len(steps)):
        seen = 0
        for group in groups:
            (play,) = [child for child in group if child.tag.endswith("animate")] or [None]
            if play is None:
                seen += 1
                continue
            times = [float(t) for t in play.get("keyTimes").split(";")]
            values = [int(v) for v in play.get("values").split(";")]
            assert times[0] == 0
            seen += values[np.searchsorted(times, (number + 0.5) / len(steps)) - 1]
        # The window of this frame, and the number of each output so far.
        assert seen == 1 + (number + 1)


def test_a_drawing_is_kept_as_gif_svg_and_png(tmp_path):
    steps = convolution_steps([1, 2, 3], [1, 1], padding="valid", seconds=0.5)
    for name in ("c.gif", "c.svg", "folder/c.png"):
        steps.save(tmp_path / name)
    with Image.open(tmp_path / "c.gif") as gif:
        assert (gif.n_frames, gif.info["duration"]) == (2, 500)
    assert (tmp_path / "c.svg").read_text() == str(steps) == steps._repr_mimebundle_()["image/svg+xml"]
    with Image.open(tmp_path / "folder" / "c.png") as png:
        assert png.size == (round(2 * steps.width), round(2 * steps.height))
    with pytest.raises(InputError, match=re.escape("ends in '.jpg'; use .svg, .gif or .png")):
        steps.save(tmp_path / "c.jpg")


def test_numbers_are_written_as_they_fit():
    assert [short(v) for v in (3.0, -2.0, 0.25, 1 / 3, 12345.0)] == ["3", "−2", "0.25", "0.33", "1.2e+04"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(x=np.ones((2, 2, 2))),
            r"x is float64 of shape \(2, 2, 2\); give numbers, \(height, width\) or \(length,\)",
        ),
        (dict(kernel=[1, 2]), r"kernel has shape \(2,\); expected \(height, width\)"),
        (dict(x=np.full((3, 3), np.nan)), "x contains NaN or infinity"),
        (dict(x=np.ones((30, 30))), "makes more than 400 cells to draw"),
        (dict(input_size=9), r"x has shape \(3, 3\), but conv makes \(9, 9\) of input_size=\(9, 9\)"),
        (dict(seconds=0), "seconds=0.* must be positive"),
        (dict(stride=0), "stride=0 must be a positive int"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        convolution_steps(**{"x": np.ones((3, 3)), "kernel": np.ones((2, 2)), **change})
