"""Orbits: complete, without the identity, and moving images as NumPy does."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, analysis

IMAGES = np.random.default_rng(0).random((2, 9, 9, 3)).astype(np.float32)


@pytest.mark.parametrize("fill", ["zero", "circular", "crop"])
@pytest.mark.parametrize("reach", [1, 3])
def test_every_shift_is_there_once_and_the_identity_is_not(fill, reach):
    orbit = analysis.shifts(reach, fill=fill)
    offsets = {tuple(offset) for offset in orbit.parameters.tolist()}
    everything = {(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)}
    assert offsets == everything - {(0, 0)}
    assert len(orbit.parameters) == len(offsets)


def moved(fill, dy, dx, reach):
    if fill == "circular":
        return np.roll(IMAGES, (dy, dx), (1, 2))
    padded = np.pad(IMAGES, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    if fill == "zero":
        return padded[:, reach - dy : reach - dy + 9, reach - dx : reach - dx + 9]
    return IMAGES[:, reach - dy : 9 - reach - dy, reach - dx : 9 - reach - dx]


@pytest.mark.parametrize("fill", ["zero", "circular", "crop"])
def test_shifts_move_the_content_down_and_right(fill):
    orbit = analysis.shifts(2, fill=fill)
    for offset in (orbit.identity, *orbit.parameters):
        np.testing.assert_array_equal(
            orbit.apply(jnp.asarray(IMAGES), jnp.asarray(offset)), moved(fill, *offset.tolist(), 2)
        )


def test_subpixel_shifts_add_up_to_whole_pixels():
    orbit = analysis.subpixel_shifts(4)
    assert len({tuple(p) for p in orbit.parameters.tolist()}) == 15
    assert not (orbit.parameters == 0).all(1).any()
    half = next(p for p in orbit.parameters if p.tolist() == [0.5, 0.0])
    once = orbit.apply(jnp.asarray(IMAGES), jnp.asarray(half))
    twice = orbit.apply(once, jnp.asarray(half))
    # An odd side has no Nyquist frequency, so two half shifts are one whole shift exactly.
    np.testing.assert_allclose(twice, np.roll(IMAGES, 1, 1), atol=1e-5)


def test_rotations_go_all_the_way_round():
    orbit = analysis.rotations(15)
    assert orbit.parameters.tolist() == list(range(15, 360, 15))
    assert orbit.parameters[analysis.quarter_turns(orbit)].tolist() == [90, 180, 270]
    for turns, degrees in enumerate((90, 180, 270), 1):
        turned = orbit.apply(jnp.asarray(IMAGES), jnp.float32(degrees))
        np.testing.assert_array_equal(turned, np.rot90(IMAGES, turns, (1, 2)))


@pytest.mark.parametrize("orbit", [analysis.shifts(2), analysis.subpixel_shifts(3), analysis.rotations(30)])
def test_paths_take_the_smallest_steps(orbit):
    members = np.concatenate([orbit.identity[None], orbit.parameters]).reshape(len(orbit.parameters) + 1, -1)
    visited = set()
    for path in orbit.paths:
        visited.update(path)
        steps = np.diff(members[list(path)], axis=0)
        if orbit.name == "rotation":
            steps = (steps + 180) % 360 - 180
        lengths = np.abs(steps).sum(1)
        np.testing.assert_allclose(lengths, lengths[0], rtol=1e-5)
        assert lengths[0] == pytest.approx({"shift_zero": 1, "shift_subpixel": 1 / 3, "rotation": 30}[orbit.name])
    assert visited == set(range(len(members)))
    if orbit.name == "rotation":
        assert orbit.paths[0][0] == orbit.paths[0][-1] == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: analysis.shifts(0), "max_shift=0 must be at least 1"),
        (lambda: analysis.shifts(1, fill="mirror"), "fill='mirror' is unknown"),
        (lambda: analysis.subpixel_shifts(1), "parts=1 must be at least 2"),
        (lambda: analysis.rotations(25.0), "rotation step 25.0 must divide 360"),
        (lambda: analysis.rotations(0.0), "rotation step 0.0 must divide 360"),
        (lambda: analysis.rotations(360.0), "rotation step 360.0 must divide 360"),
        (
            lambda: analysis.shifts(5, fill="crop").apply(jnp.asarray(IMAGES), jnp.zeros(2, jnp.int32)),
            "max_shift=5 leaves no window in images of 9×9",
        ),
    ],
)
def test_an_orbit_that_cannot_be_is_refused(make, message, without_type_checks):
    with pytest.raises(InputError, match=message):
        make()
