"""Tests of networks can assert equivariance."""

import jax
import jax.numpy as jnp
import pytest

from cnnjax import analysis, ops
from cnnjax.errors import InputError

IMAGES = jax.random.uniform(jax.random.key(0), (2, 8, 8, 3))
KERNEL = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))


def maps(images, padding):
    y = ops.conv(images, KERNEL, padding=padding)
    return {"conv": y, "mean": y.mean((1, 2))}


def test_circular_convolutions_move_with_the_image():
    analysis.assert_equivariant(lambda x: maps(x, "circular"), IMAGES, analysis.Shift((1, 3), fill="circular"))


def test_what_does_not_move_is_named_with_its_error():
    with pytest.raises(AssertionError, match=r"not equivariant under Shift.*, within 1e-05: conv by 0\.\d+, mean by"):
        analysis.assert_equivariant(lambda x: maps(x, "same"), IMAGES, analysis.Shift((1, 3), fill="circular"))


def test_an_activation_that_is_0_everywhere_is_named():
    with pytest.raises(AssertionError, match="output by nan"):
        analysis.assert_equivariant(lambda x: jnp.zeros_like(x) * x, IMAGES, analysis.Shift((1, 0)))


def test_a_negative_tolerance_is_refused():
    with pytest.raises(InputError, match=r"tolerance=-1\.0 must be at least 0"):
        analysis.assert_equivariant(lambda x: x, IMAGES, analysis.Shift((1, 0)), tolerance=-1.0)
