"""Input that no measure of an orbit or an activation can use is refused at the door, in words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, analysis

IMAGES = jax.random.uniform(jax.random.key(0), (3, 8, 8, 1))

pytestmark = pytest.mark.usefixtures("without_type_checks")


def classify(x):
    return jnp.stack([x.mean((1, 2, 3)), x.max((1, 2, 3))], 1)


def halved(x):
    return x[:, :, ::2]


OF_ORBITS = {
    "consistency": lambda x, orbit: analysis.consistency(classify, x, orbit),
    "flip_rate": lambda x, orbit: analysis.flip_rate(classify, x, orbit),
    "normalized_variance": lambda x, orbit: analysis.normalized_variance(classify, x, orbit),
    "goodfellow_invariance": lambda x, orbit: analysis.goodfellow_invariance(classify, x, orbit, firing_rate=0.5),
}


@pytest.mark.parametrize("name", OF_ORBITS)
@pytest.mark.parametrize(
    ("images", "orbit", "message"),
    [
        (IMAGES, analysis.shifts(8), "8 pixels"),
        (IMAGES, analysis.shifts(9, fill="circular"), "9 pixels"),
        ((IMAGES * 255).astype(jnp.uint8), analysis.shifts(1), "uint8"),
        (IMAGES.at[0, 0, 0, 0].set(jnp.nan), analysis.shifts(1), "NaN"),
        (IMAGES[..., 0], analysis.shifts(1, fill="crop"), "shape"),
        (IMAGES[:0], analysis.shifts(1), "no examples|none of them empty"),
    ],
)
def test_images_that_an_orbit_cannot_move(name, images, orbit, message):
    with pytest.raises(InputError, match=message):
        OF_ORBITS[name](images, orbit)


@pytest.mark.parametrize("name", OF_ORBITS)
def test_a_transform_is_no_orbit(name):
    with pytest.raises(InputError, match="no orbit"):
        OF_ORBITS[name](IMAGES, analysis.Shift((0, 1)))


@pytest.mark.parametrize(
    "measure",
    [
        lambda: analysis.equivariance_error(lambda x: None, IMAGES, analysis.Shift((0, 1))),
        lambda: analysis.lie_derivative(lambda x: None, IMAGES, "rotation"),
        lambda: analysis.lie_attribution(lambda x: None, IMAGES, "rotation"),
        lambda: analysis.normalized_variance(lambda x: None, IMAGES, analysis.shifts(1)),
    ],
)
def test_a_function_that_returns_nothing(measure):
    with pytest.raises(InputError, match="no array"):
        measure()


def test_names_that_collide():
    def f(x):
        return {"b": {"c": x + 1}, "b/c": x * 2}

    with pytest.raises(InputError, match="'b/c'"):
        analysis.intervene(f, lambda name, a: a)(IMAGES)


def test_maps_that_do_not_turn():
    with pytest.raises(InputError, match="strides 1 and 2"):
        analysis.equivariance_error(halved, IMAGES, analysis.Rotation(30))


@pytest.mark.parametrize("factor", [1e-6, 1e30])
def test_zooms_that_leave_nothing(factor):
    with pytest.raises(InputError, match="factor="):
        analysis.equivariance_error(lambda x: x, IMAGES, analysis.Scale(factor))


@pytest.mark.parametrize("shift", [1.5, 0])
def test_shifts_are_whole(shift):
    with pytest.raises(InputError, match="at least 1 pixel, a whole number"):
        analysis.shifts(shift)


def test_an_offset_for_each_axis():
    with pytest.raises(InputError, match="offset=1"):
        analysis.Shift(1)  # pyright: ignore[reportArgumentType]
    assert analysis.Shift(np.array([1, 2])).offset == (1, 2)  # pyright: ignore[reportArgumentType]


def test_lists_are_no_images():
    with pytest.raises(InputError, match="list"):
        analysis.receptive_field(lambda x: x, IMAGES.tolist())


@pytest.mark.parametrize("scale", [1e25, 1e-25])
def test_norms_hold_at_every_scale(scale):
    expected = analysis.equivariance_error(halved, IMAGES, analysis.Shift((0, 1), fill="circular"))
    found = analysis.equivariance_error(lambda x: halved(x) * scale, IMAGES, analysis.Shift((0, 1), fill="circular"))
    assert found == pytest.approx(expected, rel=1e-5)
    maps = [analysis.translation_sensitivity_map(lambda x, s=s: x * s, IMAGES, max_shift=1).map for s in (1.0, scale)]
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-5)


def test_an_imaginary_part_counts():
    error = analysis.linearity_error(lambda x: jax.lax.complex(x, x**2), IMAGES)
    assert error.additivity > 0.01


def test_interventions_pass_options_on():
    def f(x, *, times):
        return {"a": x * times}

    edited = analysis.intervene(f, lambda name, a: a + 1)
    np.testing.assert_array_equal(edited(IMAGES, times=2)["a"], IMAGES * 2 + 1)
