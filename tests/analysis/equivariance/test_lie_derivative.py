"""Lie derivatives against finite differences of the transformations, sinusoids in closed form, and exact facts."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, ops, runtime
from cnnjax.analysis import (
    Generator,
    Shift,
    equivariance_error,
    lie_derivative,
    local_equivariance_error,
)
from cnnjax.analysis.fields.layout import Layout
from tests.references.frameworks import every_framework, plain
from tests.repeats import repeated

GEOMETRIC = ("translation_x", "translation_y", "rotation", "scale", "shear_x", "shear_y")


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def of_images(x, *generator):
    return np.asarray(Generator(*generator).of_images(jnp.asarray(x)))


KERNELS = [jnp.asarray(noise(3, 3, a, b, seed=i) / 3) for i, (a, b) in enumerate([(2, 3), (3, 4)])]


def network(x):
    """Strided, padded with zeros, residual, nonlinear: nothing in it is equivariant."""
    first = jnp.tanh(ops.conv(x, KERNELS[0].astype(x.dtype)))
    second = jnp.tanh(ops.conv(first, KERNELS[1].astype(x.dtype), stride=2)) + ops.avg_pool(first, 2).sum(
        -1, keepdims=True
    )
    logits = second.mean((1, 2)) ** 2
    return logits, {"first": first, "second": second, "logits": logits}


def compared(f, x, move, t):
    """`(T₋ₜ f(Tₜ x) − Tₜ f(T₋ₜ x)) / 2t`, `move(a, t, stride)` being T on maps."""

    @jax.jit
    def conjugated(t):
        logits, a = f(move(x, t, 1))
        first, second = move(a["first"], -t, 1), move(a["second"], -t, 2)
        return logits, {"first": first, "second": second, "logits": logits}

    pairs = zip(*map(jax.tree.leaves, (conjugated(t), conjugated(-t))), strict=True)
    return [(after - before) / (2 * t) for after, before in pairs]


@pytest.mark.parametrize("generator", repeated(["translation_y", "translation_x"]))
def test_shifted_by_the_fourier_phase(generator):
    x = jnp.asarray(noise(2, 8, 6, 2))
    along = np.array([0.0, 1.0] if generator == "translation_x" else [1.0, 0.0])
    expected = compared(network, x, lambda a, t, s: ops.fourier_shift(a, along * t / s), 1e-5)
    found = jax.tree.leaves(lie_derivative(network, x, generator))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.mark.parametrize(("generator", "fill"), repeated([("rotation", "zero"), ("scale", "reflect")]))
def test_turned_and_zoomed_by_cubic_convolution(generator, fill):
    x = jnp.asarray(noise(2, 8, 8, 2))

    def warp(a, t, _):
        if generator == "rotation":
            return ops.rotate(a, t * 180 / math.pi, fill=fill, order=3)
        return ops.scale(a, jnp.exp(t), fill=fill, order=3)

    expected = compared(network, x, warp, 1e-6)
    found = jax.tree.leaves(lie_derivative(network, x, generator, resampler="cubic", fill=fill))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


@pytest.mark.parametrize(
    ("generator", "resampler"),
    repeated(
        [
            *(("rotation", "fourier"), ("translation_x", "linear"), ("translation_y", "fourier")),
            *(("translation_x", "fourier"), ("translation_x", "cubic")),
        ],
        quick=3,
    ),
)
def test_the_identity_and_convolution_of_stride_1_are_equivariant(generator, resampler):
    kernel = jnp.asarray(noise(3, 3, 2, 3, seed=1))

    def f(x):
        return {"identity": x + 0, "conv": ops.conv(x, kernel, padding="circular")}

    found = lie_derivative(f, noise(2, 6, 5, 2), generator, resampler=resampler, fill="circular")
    np.testing.assert_allclose(found["identity"], 0, atol=1e-12)
    if generator.startswith("translation"):
        np.testing.assert_allclose(found["conv"], 0, atol=1e-12)
    else:
        assert np.abs(found["conv"]).max() > 0.1


def test_zero_padding_breaks_the_border_alone():
    def f(x):
        return ops.conv(x, jnp.asarray(noise(3, 3, 1, 1, seed=1)), padding="same")

    error = np.abs(lie_derivative(f, noise(1, 7, 7, 1), "translation_x", resampler="cubic", fill="circular"))[0, ..., 0]
    # Windows that reach beyond the border, and those whose slope reads such a window.
    assert (error[:, [0, 1, 5, 6]].max(0) > 0.1).all()
    np.testing.assert_allclose(error[1:-1, 2:5], 0, atol=1e-12)


def test_a_square_aliases_what_it_cannot_hold():
    n = 16
    for cycles, expected in ((3, 0.0), (6, np.pi)):
        omega, p = 2 * np.pi * cycles / n, np.arange(n)
        wave = np.cos(omega * p).reshape(1, n, 1)
        found = lie_derivative(jnp.square, wave, "translation_x")
        # cos² has frequency 2ω; above π it is seen as 2π − 2ω, which moves the other way.
        np.testing.assert_allclose(found, expected * np.sin(2 * omega * p).reshape(1, n, 1), atol=1e-12)
    rectified = lie_derivative(jax.nn.relu, noise(1, n, 1), "translation_x")
    assert np.abs(rectified).max() > 0.1


def test_a_stride_is_equivariant_to_what_it_does_not_alias():
    n, p = 16, np.arange(16)
    for cycles, moved in ((3, 0.0), (5, np.pi)):
        omega = 2 * np.pi * cycles / n
        found = lie_derivative(lambda x: x[:, ::2], np.cos(omega * p).reshape(1, n, 1), "translation_x")
        np.testing.assert_allclose(found[0, :, 0], moved * np.sin(omega * p[::2]), atol=1e-12)


@pytest.mark.parametrize("generator", repeated(reversed(GEOMETRIC), quick=4))
def test_maps_move_in_their_own_units(generator):
    # The terms of a quadratic picture, whose slopes between neighbours are exact at any distance; the centre is a unit.
    row, column = np.meshgrid(np.arange(13) - 6.0, np.arange(13) - 6.0, indexing="ij")
    x = np.stack([row**2, column**2, row * column, row, column, np.ones((13, 13))])[..., None]

    def f(x):
        return {(s, t): x[:, 6 % s : 13 - 6 % s : s, 6 % t : 13 - 6 % t : t] for s in (1, 2, 4) for t in (1, 2)}

    for strides, error in lie_derivative(f, x, generator, resampler="cubic", fill="circular").items():
        np.testing.assert_allclose(error[:, 1:-1, 1:-1], 0, atol=1e-10, err_msg=str(strides))


def test_mirrored_and_transposed_maps_move_as_the_picture_does():
    x = noise(2, 6, 6, 2)
    found = lie_derivative(lambda x: {"flip": x[:, ::-1], "first": jnp.moveaxis(x, -1, 1)}, x, "translation_y")
    np.testing.assert_allclose(found["flip"], 0, atol=1e-12)
    np.testing.assert_allclose(found["first"], 0, atol=1e-12)


def test_a_linear_functional_is_differentiated_along_the_orbit():
    x, w = noise(3, 6, 6, 1), noise(36, 2, seed=1)

    def f(x):
        return x.reshape(3, 36) @ w

    for generator in ("rotation", "translation_x", "contrast"):
        expected = of_images(x, generator).reshape(3, 36) @ w
        np.testing.assert_allclose(lie_derivative(f, x, generator), expected, atol=1e-12)
        error = local_equivariance_error(f, x, generator)
        np.testing.assert_allclose(error.per_image, (expected**2).mean(1), rtol=1e-12)
        np.testing.assert_allclose(error.lee, (expected**2).mean(), rtol=1e-12)
        relative = np.linalg.norm(expected) / np.linalg.norm(x.reshape(3, 36) @ w)
        np.testing.assert_allclose(error.relative, relative, rtol=1e-12)


def test_the_resampler_alone_moves_the_error():
    omega, p = 2 * np.pi / 3, np.arange(12)
    wave, sine = np.cos(omega * p).reshape(1, 12, 1), np.sin(omega * p).reshape(12, 1)

    def lee(resampler):
        return local_equivariance_error(
            lambda x: x[..., 0] @ sine, wave, "translation_x", resampler=resampler, fill="circular"
        ).lee

    np.testing.assert_allclose(lee("fourier") / lee("cubic"), (omega / np.sin(omega)) ** 2)
    # Half a pixel away from the sine, the far side's slope has this part of it.
    far = 2 * np.sin(omega / 2) * np.cos(omega / 2)
    np.testing.assert_allclose(lee("fourier") / lee("linear"), (omega / far) ** 2)


def test_small_shifts_have_that_error():
    x, t = noise(4, 8, 8, 2), 1e-4
    rates = local_equivariance_error(network, x, "translation_x")
    errors = equivariance_error(network, x, Shift((0, t), fill="circular"))
    for rate, error in zip(jax.tree.leaves(rates), jax.tree.leaves(errors), strict=True):
        np.testing.assert_allclose(rate.relative * t, error, rtol=2e-3)


def test_errors_are_the_squares_of_fields_in_any_batches(monkeypatch):
    def f(x):
        return {"square": x**2, "sum": (x**3).sum((1, 2))}

    x = noise(5, 4, 4, 2)
    fields = lie_derivative(f, x, "rotation")
    monkeypatch.setattr(runtime, "evaluation_batch", lambda pixels: 32 // pixels)
    errors = local_equivariance_error(f, x, "rotation")
    for name, size in (("square", 32), ("sum", 2)):
        expected = np.square(fields[name]).reshape(5, size).mean(1)
        np.testing.assert_allclose(errors[name].per_image, expected, rtol=1e-10)
        values = np.square(f(x)[name]).reshape(5, size).mean(1)
        np.testing.assert_allclose(errors[name].relative, np.sqrt(expected.mean() / values.mean()), rtol=1e-10)


def test_single_precision_and_bfloat16():
    x = noise(2, 8, 8, 2)
    exact = lie_derivative(network, x, "rotation")
    for dtype, tolerance in ((jnp.float32, 1e-4), (jnp.bfloat16, 0.1)):
        found = lie_derivative(network, jnp.asarray(x, dtype), "rotation")
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
            assert a.dtype == jnp.float32
            assert np.abs(np.asarray(a, np.float64) - b).max() < tolerance * np.abs(b).max()


def test_a_dead_layer_has_no_relative_error():
    error = local_equivariance_error(lambda x: x * 0, noise(1, 4, 4, 1), "rotation")
    assert error.lee == 0
    assert math.isnan(error.relative)
    assert math.isnan(error.variation)


def test_a_function_that_ignores_its_input_is_seen_by_its_variation():
    x = noise(3, 4, 4, 1)
    constant = local_equivariance_error(lambda x: x * 0 + 0.7, x, "rotation")
    assert (constant.relative, constant.variation) == (0, 0)
    assert math.isnan(local_equivariance_error(lambda x: x, x[:1], "rotation").variation)


def test_variation_is_no_number_where_all_squares_vanish():
    x = 1e-25 * noise(3, 6, 6, 1).astype(np.float32)
    error = local_equivariance_error(lambda x: x, x, "rotation")
    assert math.isnan(error.relative)
    assert math.isnan(error.variation)


def test_variation_and_motion_at_the_border_are_these_norms(monkeypatch):
    x = noise(5, 6, 6, 2)
    second = np.asarray(network(x)[1]["second"])
    motion = np.array(
        Generator("rotation", "cubic").of_activation(jnp.asarray(second), Layout("second", (1, 2), (2, 2)))
    )
    motion[:, 1:-1, 1:-1] = 0
    monkeypatch.setattr(runtime, "evaluation_batch", lambda pixels: 72 // pixels)
    found = local_equivariance_error(network, x, "rotation", resampler="cubic")
    error = found[1]["second"]
    np.testing.assert_allclose(error.at_border, np.linalg.norm(motion) / np.linalg.norm(second), rtol=1e-10)
    deviation = np.linalg.norm(second - second.mean(0)) / np.linalg.norm(second)
    np.testing.assert_allclose(error.variation, deviation, rtol=1e-10)

    # Of what is no map, the motion of the images.
    motion = of_images(x, "rotation", "cubic").copy()
    motion[:, 1:-1, 1:-1] = 0
    np.testing.assert_allclose(found[0].at_border, np.linalg.norm(motion) / np.linalg.norm(x), rtol=1e-10)


@functools.cache
def of_plain_network():
    return lie_derivative(
        plain, jnp.asarray(noise(2, 6, 6, 1), jnp.float32), "rotation", resampler="cubic", fill="circular"
    )


@every_framework
def test_frameworks(make):
    x = jnp.asarray(noise(2, 6, 6, 1), jnp.float32)
    found, expected = lie_derivative(make(), x, "rotation", resampler="cubic", fill="circular"), of_plain_network()
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


IMAGES = noise(2, 6, 6, 1)


@pytest.mark.parametrize(
    ("images", "generator", "options", "message"),
    [
        (IMAGES[0], "rotation", {}, "rotation needs"),
        (IMAGES[0, 0], "rotation", {}, "shape"),
        (IMAGES[:0], "rotation", {}, "none of them empty"),
        (np.zeros((1, 4, 4, 1), np.uint8), "rotation", {}, "divide uint8 pixels by 255"),
        (np.full((1, 4, 4, 1), np.nan), "rotation", {}, "NaN"),
        (IMAGES, "translate_x", {}, r"generator='translate_x' is unknown.*perhaps you meant translation_x"),
        (IMAGES, "warp", {}, "one of translation_x"),
        (IMAGES, "rotation", {"resampler": "bilinear"}, "one of fourier, linear, cubic"),
        (IMAGES, "rotation", {"fill": "zero"}, "Fourier derivative is circular"),
        (IMAGES, "rotation", {"resampler": "cubic", "fill": "wrap"}, "one of zero, circular, reflect"),
        (IMAGES, "saturation", {}, "1 channels: saturation needs red, green and blue"),
    ],
)
@pytest.mark.parametrize("measure", [lie_derivative, local_equivariance_error])
@pytest.mark.usefixtures("without_type_checks")
def test_bad_input(measure, images, generator, options, message):
    with pytest.raises(InputError, match=message):
        measure(lambda x: x, images, generator, **options)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: {"label": x.sum((1, 2)).argmax(-1)}, "label is int"),
        (lambda x: {"loss": x.mean()}, r"loss is float64 of shape \(\)"),
        (lambda x: x.reshape(2, 4, 9, 1), "not clear which of its units lies where"),
    ],
)
def test_activations_without_a_derivative_or_a_place(f, message):
    with pytest.raises(InputError, match=message):
        lie_derivative(f, IMAGES, "rotation")


def test_infinite_derivatives():
    with pytest.raises(InputError, match="activation output or its derivative is not finite"):
        local_equivariance_error(jnp.sqrt, jnp.zeros((1, 4, 4, 1)), "scale")
