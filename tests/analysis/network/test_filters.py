"""Measures of filters against filters whose colour and direction are known, and against the formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.analysis import filter_chroma, filter_orientation, filter_rms

COLOURS = {
    "grey": ((1, 1, 1), 0),
    "red": ((1, 0, 0), 2 / 3),
    "red against green": ((1, -1, 0), 1),
    "none": ((0,) * 3, np.nan),
}


def gabor(degrees, *, size=11, cycles=0.2, width=2.0, phase=0.7):
    """Stripes at an angle, counter-clockwise from horizontal, under a round window."""
    places = np.arange(size) - (size - 1) / 2
    up, right = -places[:, None], places[None, :]
    angle = np.deg2rad(degrees)
    across = -np.sin(angle) * right + np.cos(angle) * up
    wave = np.exp(-(up**2 + right**2) / (2 * width**2)) * np.cos(2 * np.pi * cycles * across + phase)
    return wave.astype(np.float32)[:, :, None, None]


@pytest.mark.parametrize("colour", COLOURS)
def test_chroma_of_colours(colour):
    channels, expected = COLOURS[colour]
    kernel = gabor(20) * np.asarray(channels, np.float32)[:, None]
    np.testing.assert_allclose(filter_chroma(jnp.asarray(kernel)), [expected], rtol=1e-6, atol=1e-7)


def test_chroma_is_the_formula():
    kernel = np.random.default_rng(0).normal(size=(7, 7, 3, 400)).astype(np.float32)
    grey = np.einsum("hwcn,c->hwn", kernel, np.ones(3) / np.sqrt(3))
    expected = 1 - (grey**2).sum((0, 1)) / (kernel**2).sum((0, 1, 2))
    found = np.asarray(jax.jit(filter_chroma)(kernel))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert abs(found.mean() - 2 / 3) < 0.01


@pytest.mark.parametrize("size", [5, 7, 11])
def test_orientation_of_stripes(size):
    degrees = np.arange(0, 180, 15)
    kernel = np.concatenate([gabor(d, size=size, width=size / 5) for d in degrees], axis=-1)
    angle, selectivity = jax.jit(filter_orientation)(kernel)
    away = (np.asarray(angle) - degrees + 90) % 180 - 90
    assert np.abs(away).max() < 3
    assert (angle >= 0).all()
    assert (angle < 180).all()
    # Of a wide window w the energy lies about ±0.2 with deviation 1 / (√8 π w), which is seen under a small angle.
    spread = 1 / (np.sqrt(8) * np.pi * size / 5) / 0.2
    np.testing.assert_allclose(selectivity, np.exp(-2 * spread**2), atol=0.06)


def test_orientation_of_edges_by_hand():
    """Differences of neighbours: in columns, a vertical edge, in rows, a horizontal one, and diagonally."""
    kernel = np.zeros((2, 2, 1, 4), np.float32)
    for feature, (first, second) in enumerate([((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 0), (1, 1)), ((0, 1), (1, 0))]):
        kernel[*first, 0, feature], kernel[*second, 0, feature] = 1, -1
    angle, selectivity = filter_orientation(jnp.asarray(kernel))
    # Stripes along "/" are at 45°: across them lies the difference of top left and bottom right.
    np.testing.assert_allclose(angle, [90, 0, 45, 135], atol=1e-3)
    assert (selectivity > 0.3).all()


def test_what_has_no_orientation():
    places = np.arange(9) - 4.0
    square = places[:, None] ** 2 + places[None] ** 2
    blob = np.exp(-square / 4) - 0.5 * np.exp(-square / 8)
    checks = (-1.0) ** np.add.outer(places, places)
    kernel = np.stack([blob, checks], axis=-1)[:, :, None].astype(np.float32)
    np.testing.assert_allclose(filter_orientation(jnp.asarray(kernel))[1], 0, atol=1e-5)
    assert np.isnan(filter_orientation(jnp.zeros((3, 3, 1, 1)))).all()


def test_selectivity_is_the_resultant_of_answers_to_gratings():
    """Written out: the filter's answer to every grating of a fine grid, its energy added up in double angles."""
    kernel = np.random.default_rng(1).normal(size=(4, 3, 2, 3))
    cycles = np.fft.fftfreq(64)
    total, resultant = np.zeros(3), np.zeros(3, complex)
    for down in cycles:
        for right in cycles:
            if 0 < np.hypot(down, right) <= 0.5:
                grating = np.exp(2j * np.pi * np.add.outer(down * np.arange(4), right * np.arange(3)))
                energy = (abs(np.einsum("hw,hwcn->cn", grating, kernel)) ** 2).sum(0)
                total += energy
                resultant += energy * np.exp(2j * np.arctan2(-down, right))
    angle, selectivity = filter_orientation(jnp.asarray(kernel, jnp.float32))
    np.testing.assert_allclose(selectivity, abs(resultant) / total, rtol=1e-4)
    np.testing.assert_allclose(angle, (np.rad2deg(np.angle(resultant)) / 2 + 90) % 180, rtol=1e-3)


def test_rms():
    kernel = np.random.default_rng(2).normal(size=(5, 5, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(
        filter_rms(jnp.asarray(kernel)), [np.sqrt((kernel[..., i] ** 2).mean()) for i in range(4)], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("measure", "shape", "message"),
    [
        (filter_chroma, (3, 3, 4, 2), "needs 3 input channels"),
        (filter_chroma, (3, 3, 3), r"shape \(3, 3, 3\): expected"),
        (filter_orientation, (1, 1, 3, 2), "one pixel has no orientation"),
        (filter_orientation, (3, 0, 3, 2), "none of them 0"),
    ],
)
def test_bad_input(measure, shape, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        measure(jnp.zeros(shape))
