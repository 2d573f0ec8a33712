"""The border's part of a Lie derivative: against canvases widened by hand, and filters whose equivariance is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, ops
from cnnjax.analysis import lie_derivative, lie_terms, local_equivariance_error


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def blurred_spots(side, radius=3.0, count=3):
    """Smooth pictures: spots of different places within a radius of the middle."""
    place = np.arange(side) - (side - 1) / 2
    centers = np.random.default_rng(1).uniform(-radius, radius, size=(count, 2, 2))
    spots = [sum(np.exp(-((place[:, None] - y) ** 2 + (place - x) ** 2) / 8) for y, x in each) for each in centers]
    return np.stack(spots)[..., None]


def gaussian(down, right, size=13):
    place = np.arange(size) - size // 2
    kernel = np.exp(-((place[:, None] / down) ** 2 + (place / right) ** 2) / 2)
    return jnp.asarray(kernel[..., None, None] / kernel.sum())


def filtered(kernel):
    return lambda x: ops.conv(x, jnp.asarray(kernel), padding="circular")


KERNEL = noise(3, 3, 1, 2, seed=1)


def network(x):
    maps = jnp.tanh(ops.conv(x, jnp.asarray(KERNEL), stride=2))
    return maps.mean((1, 2)), {"maps": maps}


@pytest.mark.parametrize("options", [{}, {"resampler": "cubic", "fill": "reflect"}])
def test_terms_are_those_of_a_canvas_widened_by_hand(options):
    x = noise(3, 8, 8, 1)
    far = np.full((3, 16, 16, 1), 0.25)
    far[:, 4:12, 4:12] = x
    near_logits, near = lie_derivative(network, x, "rotation", **options)
    far_logits, far_maps = lie_derivative(network, far, "rotation", **options)
    found_logits, found = lie_terms(network, x, "rotation", margin=4, background=0.25, **options)
    size = np.linalg.norm(network(x)[1]["maps"])
    own = far_maps["maps"][:, 2:6, 2:6]
    expected = [np.linalg.norm(a) / size for a in (near["maps"], own, near["maps"] - own)]
    np.testing.assert_allclose([found["maps"].total, found["maps"].function, found["maps"].border], expected, rtol=1e-9)

    # Pooled, each image keeps the length that it has without the margin.
    lengths = [np.linalg.norm(network(a)[0], axis=1, keepdims=True) for a in (x, far)]
    own = far_logits * lengths[0] / lengths[1]
    expected = [np.linalg.norm(a) / np.linalg.norm(lengths[0]) for a in (near_logits, own, near_logits - own)]
    np.testing.assert_allclose([found_logits.total, found_logits.function, found_logits.border], expected, rtol=1e-9)


def test_on_a_tight_canvas_the_error_of_an_exact_filter_is_all_of_the_border():
    x = blurred_spots(14)
    exact, directed = (lie_terms(filtered(k), x, "rotation") for k in (gaussian(1.5, 1.5), gaussian(2.5, 1.0)))
    assert exact.border == pytest.approx(exact.total, rel=1e-2)
    assert exact.function < 1e-2 * exact.total
    assert directed.function > 100 * exact.function


def test_the_motion_at_the_border_warns_of_it():
    f = filtered(gaussian(1.5, 1.5))
    tight, wide = (local_equivariance_error(f, blurred_spots(side), "rotation") for side in (14, 40))
    assert tight.at_border > tight.relative > 100 * wide.relative
    assert wide.at_border < 1e-6


def test_there_is_no_border_for_what_a_circular_shift_moves():
    terms = lie_terms(filtered(KERNEL), noise(2, 8, 8, 1), "translation_x")
    # Each part is rounding, of numbers near 1.
    assert max(terms.total, terms.function, terms.border) < 1e-12


def test_the_margin_is_by_default_half_the_image_and_keeps_units_in_place():
    x = noise(2, 10, 6, 1)
    assert lie_terms(network, x, "scale") == lie_terms(network, x, "scale", margin=6)


def test_terms_do_not_depend_on_batches(monkeypatch):
    from cnnjax import runtime

    x = noise(5, 6, 6, 1)
    whole = lie_terms(filtered(KERNEL), x, "rotation")
    monkeypatch.setattr(runtime, "evaluation_batch", lambda pixels: 288 // pixels)
    parts = lie_terms(filtered(KERNEL), x, "rotation")
    np.testing.assert_allclose([*vars(parts).values()], [*vars(whole).values()], rtol=1e-10)


@pytest.mark.parametrize(
    ("f", "options", "message"),
    [
        (network, {"margin": 3}, "margin=3 must be a multiple of 2 pixels"),
        (network, {"margin": 0}, "margin=0 must be"),
        (network, {"generator": "warp"}, "generator='warp' is unknown"),
        (lambda x: x.reshape(2, -1) @ jnp.ones((64, 2)), {}, "the function cannot take float64 of shape"),
        (
            lambda x: x[:, :8, :8],
            {},
            r"output has shape \(8, 8, 1\), and \(8, 8, 1\) on images with",
        ),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_bad_input(f, options, message):
    with pytest.raises(InputError, match=message):
        lie_terms(f, noise(2, 8, 8, 1), **({"generator": "rotation"} | options))
