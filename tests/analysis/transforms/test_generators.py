"""Generators against derivatives of interpolants written out, of `ops`, and of waves in closed form."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from cnnjax import ops
from cnnjax.analysis import Generator
from cnnjax.ops.resampling import resample
from tests.repeats import repeated

GEOMETRIC = ("translation_x", "translation_y", "rotation", "scale", "shear_x", "shear_y")
ORDERS = {"linear": 1, "cubic": 3}


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def of_images(x, *generator):
    return np.asarray(Generator(*generator).of_images(jnp.asarray(x)))


def source_positions(generator, t, height, width):
    """Where T_t reads each pixel, in rows and columns from the centre."""
    row, column = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    match generator:
        case "translation_x":
            return row, column - t
        case "translation_y":
            return row - t, column
        case "rotation":
            # Counter-clockwise, rows counted downwards.
            return row * np.cos(t) + column * np.sin(t), column * np.cos(t) - row * np.sin(t)
        case "scale":
            return row * np.exp(-t), column * np.exp(-t)
        case "shear_x":
            return row, column - t * row
        case _:
            return row - t * column, column


def trigonometric(position, n):
    """What each of n pixels weighs in the trigonometric interpolant at real positions from the centre."""
    distance = position[..., None] + (n - 1) / 2 - np.arange(n)
    k = np.arange(-(n // 2), n // 2 + 1)
    weight = np.where(2 * np.abs(k) == n, 0.5, 1.0) / n
    return (weight * np.cos(2 * np.pi * k * distance[..., None] / n)).sum(-1)


def interpolated(x, generator, t):
    row, column = source_positions(generator, t, *x.shape[1:3])
    return np.einsum(
        "hwi,hwj,bijc->bhwc", trigonometric(row, x.shape[1]), trigonometric(column, x.shape[2]), x, optimize=True
    )


@pytest.mark.parametrize("generator", GEOMETRIC)
@pytest.mark.parametrize("size", repeated([((5, 7),), ((6, 6),), ((4, 1),)]))
def test_fourier_generators_differentiate_the_trigonometric_interpolant(generator, size):
    x, t = noise(2, *size, 2), 1e-5
    np.testing.assert_allclose(interpolated(x, generator, 0), x, atol=1e-13)
    expected = (interpolated(x, generator, t) - interpolated(x, generator, -t)) / (2 * t)
    np.testing.assert_allclose(of_images(x, generator), expected, atol=1e-7)


@functools.cache
def derivative_of_resampling(fill, order):
    def derivative(x, place, velocity):
        def moved(row, column):
            positions = (jnp.broadcast_to(p, (2, 30)) for p in (row + 2.0, column + 2.5))
            return resample(x, *positions, fill=fill, order=order).reshape(x.shape)

        return jax.jvp(moved, place, velocity)[1]

    return jax.jit(derivative)


@pytest.mark.parametrize("generator", GEOMETRIC)
@pytest.mark.parametrize(
    ("resampler", "fill"),
    repeated(
        [
            *(("linear", "reflect"), ("cubic", "zero"), ("linear", "circular"), ("linear", "zero")),
            *(("cubic", "circular"), ("cubic", "reflect")),
        ],
        quick=2,
    ),
)
def test_other_generators_are_what_differentiating_the_resampling_gives(generator, fill, resampler):
    x = noise(2, 5, 6, 2)
    row, column = (np.asarray(p).reshape(1, -1) for p in source_positions(generator, 0.0, 5, 6))
    later_row, later_column = (np.asarray(p).reshape(1, -1) for p in source_positions(generator, 1e-6, 5, 6))
    velocity = (later_row - row) / 1e-6, (later_column - column) / 1e-6
    expected = derivative_of_resampling(fill, ORDERS[resampler])(x, (row, column), velocity)
    np.testing.assert_allclose(of_images(x, generator, resampler, fill), expected, atol=1e-5)


@pytest.mark.parametrize("resampler", ["linear", "cubic"])
def test_rotation_and_scale_are_those_of_ops(resampler):
    x = jnp.asarray(noise(2, 6, 6, 2))
    options = {"fill": "reflect", "order": ORDERS[resampler]}

    def turned_and_zoomed(t):
        return ops.rotate(x, t * 180 / math.pi, **options), ops.scale(x, jnp.exp(t), **options)

    turned, zoomed = jax.jit(lambda t: jax.jvp(turned_and_zoomed, (t,), (1.0,))[1])(0.0)
    np.testing.assert_allclose(of_images(x, "rotation", resampler, "reflect"), turned, atol=1e-12)
    np.testing.assert_allclose(of_images(x, "scale", resampler, "reflect"), zoomed, atol=1e-12)


@pytest.mark.parametrize("n", [12, 13])
def test_what_each_resampler_makes_of_a_wave(n):
    omega = 2 * np.pi * 5 / n
    p = np.arange(n)
    wave, quarter = np.cos(omega * p).reshape(1, n, 1), np.sin(omega * p).reshape(1, n, 1)
    np.testing.assert_allclose(of_images(wave, "translation_x"), omega * quarter, atol=1e-12)
    np.testing.assert_allclose(
        of_images(wave, "translation_x", "cubic", "circular"), np.sin(omega) * quarter, atol=1e-12
    )
    linear = 2 * np.sin(omega / 2) * np.sin(omega * (p + 0.5)).reshape(1, n, 1)
    np.testing.assert_allclose(of_images(wave, "translation_x", "linear", "circular"), linear, atol=1e-12)


def test_the_cubic_slope_is_the_mean_of_both_linear_ones():
    x = noise(1, 6, 6, 1)

    def shifted(t):
        return (1 - abs(t)) * x + abs(t) * np.roll(x, int(np.sign(t)), 2)

    both = (shifted(1e-3) - shifted(-1e-3)) / 2e-3
    np.testing.assert_allclose(of_images(x, "translation_x", "cubic", "circular"), both, atol=1e-10)


def photometric(x, name, t):
    match name:
        case "brightness":
            return x + t
        case "contrast":
            mean = x.mean((1, 2, 3), keepdims=True)
            return mean + np.exp(t) * (x - mean)
        case "saturation":
            luma = x @ np.array([[0.299], [0.587], [0.114]])
            return luma + np.exp(t) * (x - luma)
        case _:
            axis = np.ones(3) / np.sqrt(3)
            turn = scipy.linalg.expm(t * np.cross(axis, np.eye(3)).T)
            np.testing.assert_allclose(turn @ np.ones(3), np.ones(3))
            return x @ turn.T


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_photometric_generators(name):
    x, t = noise(2, 4, 3, 3), 1e-5
    expected = (photometric(x, name, t) - photometric(x, name, -t)) / (2 * t)
    np.testing.assert_allclose(of_images(x, name), expected, atol=1e-9)


def test_hue_turns_red_towards_green():
    red = np.array([1.0, 0, 0]).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(of_images(red, "hue").ravel(), [0, 1 / math.sqrt(3), -1 / math.sqrt(3)])
    np.testing.assert_allclose(photometric(red, "hue", 2 * np.pi / 3).ravel(), [0, 1, 0], atol=1e-12)
