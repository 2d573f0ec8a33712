"""The error of equivariance against NumPy, which activations are maps, any framework, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from cnnjax import InputError, analysis, ops
from cnnjax.analysis import Flip, Rotation, Scale, Shift
from tests.drawn_cases import drawn_cases
from tests.references.frameworks import KERNEL, every_framework, plain
from tests.repeats import repeated

# Shapes are few, so that little is compiled.
N = 12
RNG = np.random.default_rng(0)
IMAGES = {1: RNG.normal(size=(2, N, 2)), 2: RNG.normal(size=(2, N, N, 2))}
KERNELS = {1: RNG.normal(size=(3, 2, 2)), 2: RNG.normal(size=(3, 3, 2, 2))}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def network(rank, stride, padding):
    """Compiled once for what it makes of images, and once for its errors."""

    @jax.jit
    def f(x):
        kernel = jnp.asarray(KERNELS[rank], x.dtype)
        first = jnp.tanh(ops.conv(x, kernel, padding=padding))
        second = jnp.tanh(ops.conv(first, kernel, stride=stride, padding=padding))
        return {"first": first, "maps": [second], "pooled": second.mean(tuple(range(1, rank + 1)))}

    return jax.tree_util.Partial(f)


def outputs(f, x):
    found = f(x)
    return [np.asarray(a) for a in (found["first"], *found["maps"], found["pooled"])]


def errors(f, moved_images, images, move):
    """The definition, `move(map, layer)` being T."""
    results = []
    for layer, (of_moved, output) in enumerate(zip(outputs(f, moved_images), outputs(f, images), strict=True)):
        expected = move(output, layer) if layer < 2 else output
        with np.errstate(divide="ignore"):  # a small map may move out of sight
            results.append(np.sqrt(((of_moved - expected) ** 2).sum() / (expected**2).sum()))
    return results


def shifted(x, offset, fill):
    """By whole pixels, one axis at a time."""
    for axis, d in enumerate(offset, 1):
        n = x.shape[axis]
        source = np.arange(n) - d
        if fill == "reflect":
            source = np.abs(source) % max(2 * (n - 1), 1)
            source = np.minimum(source, 2 * (n - 1) - source)
        taken = x.take(source % n, axis)
        inside = ((source >= 0) & (source < n)).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        x = np.where(inside, taken, 0) if fill == "zero" else taken
    return x


def phase_shifted(x, offset):
    for axis, d in enumerate(offset, 1):
        n = x.shape[axis]
        k = np.fft.fftfreq(n)
        phase = np.where(np.abs(k) == 0.5, np.cos(np.pi * d), np.exp(-2j * np.pi * k * d))
        spectrum = np.fft.fft(x, axis=axis) * phase.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        x = np.fft.ifft(spectrum, axis=axis).real
    return x


@pytest.mark.parametrize("rank", repeated([1, 2]))
@given(
    # Two of every stride, padding and fill.
    case=st.sampled_from(
        [
            *[(1, "valid", "zero"), (2, "circular", "zero"), (2, "same", "reflect"), (3, "valid", "reflect")],
            *[(1, "same", "circular"), (3, "circular", "circular")],
        ]
    ),
    units=st.lists(st.integers(-3, 3), min_size=2, max_size=2),
)
@drawn_cases(5)
def test_shifts_by_whole_units_are_the_definition(rank, case, units):
    (stride, padding, fill), units = case, units[:rank]
    offset = [stride * u for u in units]
    f, images = network(rank, stride, padding), IMAGES[rank]
    found = analysis.equivariance_error(f, images, Shift(offset, fill=fill))
    assert list(found) == ["first", "maps", "pooled"]
    expected = errors(f, shifted(images, offset, fill), images, lambda y, i: shifted(y, (offset, units)[i], fill))
    np.testing.assert_allclose(jax.tree.leaves(found), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("stride", "offset"), repeated([(2, (0.25, -1.75)), (3, (-2, 4)), (2, (1, 0)), (3, (0.5, 3))], quick=2)
)
def test_parts_of_units_are_moved_by_the_fourier_phase(stride, offset):
    f, images = network(2, stride, "circular"), IMAGES[2]
    found = analysis.equivariance_error(f, images, Shift(offset, fill="circular"))
    scales = (np.array(offset), np.array(offset) / stride)
    expected = errors(f, phase_shifted(images, offset), images, lambda y, i: phase_shifted(y, scales[i]))
    np.testing.assert_allclose(jax.tree.leaves(found), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("fill", repeated(["reflect", "zero", "circular"]))
def test_parts_of_units_are_moved_linearly_on_request(fill):
    def between(x, offset):
        for axis, d in enumerate(offset):
            whole, share = [0, 0], d - np.floor(d)
            whole[axis] = int(np.floor(d))
            first = shifted(x, whole, fill)
            whole[axis] += 1
            x = (1 - share) * first + share * shifted(x, whole, fill)
        return x

    f, images, offset = network(2, 2, "same"), IMAGES[2], (0.75, -3)
    found = analysis.equivariance_error(f, images, Shift(offset, fill=fill, resampler="linear"))
    scales = (np.array(offset), np.array(offset) / 2)
    expected = errors(f, between(images, offset), images, lambda y, i: between(y, scales[i]))
    np.testing.assert_allclose(jax.tree.leaves(found), expected, rtol=1e-12)


def warped(x, matrix, *, order):
    """`y[p] = x[M p]`, p from the centre, 0 outside; SciPy's own interpolation."""
    n = (np.array(x.shape[1:3]) - 1) / 2
    grid = np.stack(np.meshgrid(*map(np.arange, x.shape[1:3]), indexing="ij")).reshape(2, -1) - n[:, None]
    at = matrix @ grid + n[:, None]
    take = functools.partial(scipy.ndimage.map_coordinates, coordinates=at, order=order, mode="grid-constant")
    planes = np.moveaxis(x, 3, 1).reshape(-1, *x.shape[1:3])
    result = np.stack([take(plane) for plane in planes]).reshape(x.shape[0], x.shape[3], *x.shape[1:3])
    return np.moveaxis(result, 1, 3)


def turn(degrees):
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


@pytest.mark.parametrize(
    ("transform", "moved"),
    repeated(
        [
            (Rotation(-90, fill="reflect", order=3), lambda x: np.rot90(x, 3, (1, 2))),
            (Rotation(30), lambda x: warped(x, turn(30), order=1)),
            (Flip("width"), lambda x: x[:, :, ::-1]),
            (Scale(1.25), lambda x: warped(x, np.eye(2) / 1.25, order=1)),
            (Rotation(90), lambda x: np.rot90(x, 1, (1, 2))),
            (Rotation(540), lambda x: x[:, ::-1, ::-1]),
            (Rotation(-101.5, order=0), lambda x: warped(x, turn(-101.5), order=0)),
            (Flip("height"), lambda x: x[:, ::-1]),
        ],
        quick=4,
    ),
    ids=lambda value: "" if callable(value) and not hasattr(value, "check") else str(value),
)
def test_turns_flips_and_zooms_are_about_the_centre_of_each_map(transform, moved):
    """The maps of the first layer have the size of the image, those of the second are half as large."""
    f = network(2, 2, "same")
    found = analysis.equivariance_error(f, IMAGES[2], transform)
    expected = errors(f, moved(IMAGES[2]), IMAGES[2], lambda y, _: moved(y))
    np.testing.assert_allclose(jax.tree.leaves(found), expected, rtol=1e-10)


def test_signals_are_mirrored():
    f = network(1, 2, "same")
    found = analysis.equivariance_error(f, IMAGES[1], Flip("length"))
    expected = errors(f, IMAGES[1][:, ::-1], IMAGES[1], lambda y, _: y[:, ::-1])
    np.testing.assert_allclose(jax.tree.leaves(found), expected, rtol=1e-12)


def test_rectangles_turn_on_their_side():
    images = IMAGES[2][:, :8]
    f = network(2, 2, "valid")
    found = analysis.equivariance_error(f, images, Rotation(90))
    expected = errors(f, np.rot90(images, 1, (1, 2)), images, lambda y, _: np.rot90(y, 1, (1, 2)))
    np.testing.assert_allclose(jax.tree.leaves(found), expected, rtol=1e-12)


def test_maps_lie_on_any_axes():
    def f(x):
        y = jnp.tanh(ops.conv(x, jnp.asarray(KERNELS[2]), stride=(2, 1), padding="same"))
        grouped = jnp.stack([y, 2 * y], 3)
        return [y, y.transpose(0, 3, 1, 2), y.transpose(2, 0, 3, 1), y[:, ::-1], grouped, y[0], y[..., :1], y[..., 0]]

    *found, first, alone = analysis.equivariance_error(f, IMAGES[2][:1], Shift((2, 1), fill="circular"))
    np.testing.assert_allclose(found, found[0], rtol=1e-12)
    assert first == alone
    assert min(found[0], abs(first - found[0])) > 0.01


def test_finer_maps_than_the_image_move_further():
    def f(x):
        return ops.conv_transpose(x, jnp.ones((2, 2, 2, 2)), input_size=(2 * N, 2 * N), stride=2, padding="valid")

    error = analysis.equivariance_error(f, IMAGES[2], Shift((2.5, 1), fill="circular"))
    # By 5 and 2 units; a half of a pixel of the image is a phase, and so not the same as a whole unit.
    y, z = (np.asarray(f(jnp.asarray(x))) for x in (IMAGES[2], phase_shifted(IMAGES[2], (2.5, 1))))
    expected = np.roll(y, (5, 2), (1, 2))
    np.testing.assert_allclose(error, np.linalg.norm(z - expected) / np.linalg.norm(y), rtol=1e-12)
    assert analysis.equivariance_error(f, IMAGES[2], Shift((3, -4), fill="circular")) < 1e-12


def test_maps_of_which_every_unit_reads_the_whole_image_have_the_stride_of_their_size():
    def f(x):
        y = ops.conv(x, jnp.asarray(KERNELS[2]), stride=2, padding="circular")
        return (y - y.mean((1, 2), keepdims=True)) / y.std((1, 2), keepdims=True)

    assert analysis.equivariance_error(f, IMAGES[2], Shift((4, -2), fill="circular")) < 1e-12
    assert analysis.equivariance_error(f, IMAGES[2], Shift((1, 0), fill="circular")) > 0.1


def test_what_has_no_place_is_compared_as_it_is():
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(N * N * 2, 3)))

    def f(x):
        whole = x.mean((1, 2), keepdims=True)
        return {"map": x, "logits": x.reshape(2, -1) @ weights, "mean": whole, "scalar": x.sum(), "constant": weights}

    found = analysis.equivariance_error(f, IMAGES[2], Shift((1, 2), fill="zero"))
    moved = shifted(IMAGES[2], (1, 2), "zero")
    logits, of_moved = (x.reshape(2, -1) @ np.asarray(weights) for x in (IMAGES[2], moved))
    np.testing.assert_allclose(
        found["logits"], np.linalg.norm(of_moved - logits) / np.linalg.norm(logits), rtol=1e-11, atol=1e-13
    )
    means = [x.mean((1, 2)) for x in (IMAGES[2], moved)]
    np.testing.assert_allclose(
        found["mean"], np.linalg.norm(means[1] - means[0]) / np.linalg.norm(means[0]), rtol=1e-10
    )
    np.testing.assert_allclose(found["scalar"], abs(moved.sum() / IMAGES[2].sum() - 1), rtol=1e-10)
    assert found["constant"] == found["map"] == 0


def test_dead_activations_have_no_relative_error():
    def f(x):
        return {"dead": 0 * x, "lost": jnp.where(jnp.arange(N).reshape(1, N, 1, 1) == N - 1, x, 0 * x), "alive": x}

    found = analysis.equivariance_error(f, IMAGES[2], Shift((1, 0), fill="zero"))
    assert np.isnan(found["dead"])
    assert found["lost"] == np.inf
    assert found["alive"] == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_norms_of_narrow_types_are_summed_in_float32(dtype):
    # 4096 squares of 1/4 are more than half precision counts to in steps of 1/16.
    images = np.full((1, 64, 64, 1), 0.25)
    images[:, :, :32] = 0.5
    found = analysis.equivariance_error(
        lambda x: x.at[:, :, 0].set(0), jnp.asarray(images, dtype), Shift((0, 32), fill="circular")
    )
    y, z = images.copy(), np.roll(images, 32, 2)
    y[:, :, 0], z[:, :, 0] = 0, 0
    y = np.roll(y, 32, 2)
    np.testing.assert_allclose(found, np.linalg.norm(z - y) / np.linalg.norm(y), rtol=1e-6)


@every_framework
def test_any_framework(make):
    images = np.random.default_rng(5).random((2, 9, 9, 1)).astype(np.float32)
    with jax.enable_x64(False):
        found = analysis.equivariance_error(make(), images, Shift((2, -1), fill="circular"))
        logits, layers = plain(jnp.asarray(np.roll(images, (2, -1), (1, 2))))
        reference, expected = plain(jnp.asarray(images))
    hidden = np.roll(expected["hidden"], (2, -1), (1, 2))
    np.testing.assert_allclose(found[0], np.linalg.norm(logits - reference) / np.linalg.norm(reference), rtol=1e-3)
    error = np.linalg.norm(layers["hidden"] - hidden) / np.linalg.norm(hidden)
    np.testing.assert_allclose(found[1]["hidden"], error, rtol=1e-4)
    assert error > 0.1


def test_a_partial_is_traced_once_for_all_transforms_and_parameters():
    traces = []

    def f(kernel, x):
        traces.append(1)
        return ops.conv(x, kernel, padding="circular")

    with jax.enable_x64(False):
        images, found = IMAGES[2][..., :1].astype(np.float32), []
        compiled = []
        for factor, d in ((1, 1), (2, 2), (3, 5)):
            forward = jax.tree_util.Partial(f, factor * jnp.asarray(KERNEL))
            found.append(analysis.equivariance_error(forward, images, Shift((d, 0), fill="circular")))
            compiled.append(len(traces))
    assert max(found) < 1e-6
    # The receptive field is read off anew, the program is not compiled anew.
    assert compiled[2] - compiled[1] < compiled[0]


def conv(x):
    return ops.conv(x, jnp.asarray(KERNELS[2], x.dtype))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize(
    ("f", "images", "make", "message"),
    [
        (conv, IMAGES[2][0], lambda: Shift((1, 0)), "a number of pixels for each of 1 image axes"),
        (conv, IMAGES[2][0, 0], lambda: Shift((1, 0)), r"images have shape \(12, 2\)"),
        (conv, IMAGES[2][:0], lambda: Shift((1, 0)), "none of them empty"),
        (conv, np.zeros((1, N, N, 2), np.int32), lambda: Shift((1, 0)), "images are int32"),
        (conv, np.where(IMAGES[2] > 2, np.nan, IMAGES[2]), lambda: Shift((1, 0)), "NaN or infinity"),
        (conv, IMAGES[2], lambda: Shift((0, -N)), "out of sight"),
        (conv, IMAGES[2], lambda: Shift((0, np.nan)), "must be finite"),
        (
            conv,
            IMAGES[2],
            lambda: Shift((0, 1), fill="wrap"),
            "fill='wrap' is unknown; use one of zero, circular, reflect",
        ),
        (conv, IMAGES[2], lambda: Shift((0, 1), resampler="cubic"), "resampler='cubic' is unknown"),
        (conv, IMAGES[2], lambda: Rotation(np.inf), "must be a finite angle"),
        (conv, IMAGES[2], lambda: Rotation(30, fill="wrap"), "fill='wrap' is unknown"),
        (conv, IMAGES[2], lambda: Rotation(30, order=2), "order=2 is unknown; use one of 0, 1, 3"),
        (conv, IMAGES[2], lambda: Rotation(30, group="p4"), "no element of p4: give a multiple of 90"),
        (conv, IMAGES[2], lambda: Rotation(90, group="p5"), "'p5' is unknown"),
        (conv, IMAGES[2], lambda: Rotation(45, group="p8_approximate"), "fill='zero' and order=3"),
        (conv, IMAGES[2], lambda: Flip("depth"), "axis='depth' is unknown; use one of width, height"),
        (conv, IMAGES[2], lambda: Flip("width", group="p4"), "no mirror images"),
        (conv, IMAGES[2], lambda: Scale(0), "must be positive and finite"),
        (conv, IMAGES[2], lambda: (1, 0), "must be a Shift, Rotation, Flip, Scale or OwnTransform"),
        (network(1, 1, "same"), IMAGES[1], lambda: Rotation(90), "rotation needs"),
        (network(1, 1, "same"), IMAGES[1], lambda: Scale(2.0), "scaling needs"),
        (network(1, 1, "same"), IMAGES[1], lambda: Flip("width"), "axis='width' is unknown; use one of length"),
        (
            lambda x: {"logits": x.mean((1, 2))},
            IMAGES[2],
            lambda: Shift((1, 0)),
            "only logits: return maps .* consistency",
        ),
        (lambda x: (x, x.argmax(-1)), IMAGES[2], lambda: Shift((1, 0)), "activation 1 is int"),
        (lambda x: jnp.log(x), IMAGES[2], lambda: Shift((1, 0)), "activation output is not finite"),
        (
            lambda x: (x, conv(x).reshape(2, N * N, 2)),
            IMAGES[2],
            lambda: Shift((1, 0)),
            r"activation 1 .* \(batch, \*space, ",
        ),
        (lambda x: jnp.stack([x, x], 3), IMAGES[2], lambda: Rotation(90), "name the group, as in"),
        (
            lambda x: jnp.stack([x, x], 3),
            IMAGES[2],
            lambda: Rotation(90, group="p4"),
            r"maps \(batch, height, width, 4, ",
        ),
        (lambda x: x[:, ::2], IMAGES[2], lambda: Rotation(90), "give it square images"),
    ],
)
def test_what_cannot_be_compared_is_refused(f, images, make, message):
    with pytest.raises(InputError, match=message):
        analysis.equivariance_error(f, images, make())
