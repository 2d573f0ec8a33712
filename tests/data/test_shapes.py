"""Procedural shapes: they move exactly, and cover the area they should."""

import jax
import numpy as np
import pytest

from cnnjax import InputError, ops
from cnnjax.data import DataConfig, load, shapes

# Programs of 32 scenes each: every further number of scenes is one more to compile.
render = jax.jit(shapes.render, static_argnames="canvas")
move = jax.jit(lambda scenes, offset=(0.0, 0.0), degrees=0.0: shapes.move(scenes, offset=offset, degrees=degrees))


@pytest.fixture(scope="module")
def scenes():
    return np.asarray(shapes.sample(jax.random.key(3), 4 * len(shapes.KINDS)))


def every_kind(down, right, degrees, radius):
    return np.array([[kind, down, right, degrees, radius] for kind in range(len(shapes.KINDS))], np.float32)


@pytest.mark.parametrize("offset", [(3, -2), (-6, 6), (0, 1)])
def test_a_whole_shift_of_the_scene_is_a_shift_of_the_image(scenes, offset):
    moved = render(move(scenes, offset), canvas=32)
    shifted = jax.jit(ops.shift)(render(scenes, canvas=32), np.array(offset))
    np.testing.assert_allclose(moved, shifted, atol=1e-5)


@pytest.mark.parametrize("turns", [1, 2, 3, -1])
@pytest.mark.parametrize("canvas", [32, 33])
def test_a_quarter_turn_of_the_scene_is_one_of_the_image(scenes, turns, canvas):
    moved = render(move(scenes, degrees=90.0 * turns), canvas=canvas)
    still = render(scenes, canvas=canvas)
    np.testing.assert_allclose(moved, np.rot90(still, turns, axes=(1, 2)), atol=1e-5)


def test_any_turn_agrees_with_rotate_up_to_its_interpolation(scenes):
    moved = np.asarray(render(move(scenes, degrees=25.0), canvas=32))
    still, rotate = render(scenes, canvas=32), jax.jit(ops.rotate)
    turned, back = (rotate(still, np.full(len(scenes), degrees, np.float32)) for degrees in (25, -25))
    assert np.abs(moved - turned).mean() < 0.01
    assert np.abs(moved - back).mean() > 0.02


def test_turning_comes_before_shifting():
    moved = np.asarray(move(np.resize(every_kind(0, 5, 0, 4), (32, 5)), (1.0, 0.0), 90.0))
    np.testing.assert_allclose(moved[0, [shapes.DOWN, shapes.RIGHT, shapes.DEGREES]], [-4, 0, 90], atol=1e-5)


def test_moves_may_be_traced(scenes):
    np.testing.assert_allclose(
        move(scenes, (0.5, 0.0), 10.0), shapes.move(scenes, offset=(0.5, 0), degrees=10.0), atol=1e-5
    )


def test_area_is_analytic_and_the_same_wherever_the_shape_lies():
    radius = 6.5
    poses = [(down, right, degrees) for down in (0, 0.2, 0.5) for right in (0, 0.3, 0.7) for degrees in (0, 13, 45)]
    poses += [(0.4, 0.6, 80)]  # seven programs' full
    scenes = np.stack([every_kind(*pose, radius) for pose in poses]).reshape(7, 32, 5)
    images = np.stack([render(some, canvas=32) for some in scenes])
    areas = images.reshape(len(poses), len(shapes.KINDS), -1).sum(2)
    analytic = radius**2 * np.array([shapes.area(kind) for kind in shapes.KINDS])
    # The soft edge rounds corners, which adds a little to the star with its ten.
    np.testing.assert_allclose(areas, np.broadcast_to(analytic, areas.shape), rtol=0.04)
    assert (areas.std(0) < 0.005 * areas.mean(0)).all()


@pytest.mark.parametrize("kind", ["disc", "square"])
def test_the_picture_is_a_blurred_fine_grid(kind):
    fine = (np.arange(32 * 16) + 0.5) / 16 - 16
    down, right = fine[:, None] - 1.3, fine[None, :] + 0.4
    covered = down**2 + right**2 < 6.2**2 if kind == "disc" else np.maximum(abs(down), abs(right)) < 6.2 / np.sqrt(2)
    # A quadratic B-spline is a box of one pixel blurred by two more.
    blurred = covered.astype(float)
    for axis in (0, 1):
        for _ in range(3):
            blurred = np.apply_along_axis(np.convolve, axis, blurred, np.ones(16) / 16, mode="same")
            blurred = blurred + np.roll(blurred, -1, axis)  # an even window leans by half a step
            blurred /= 2
    reference = blurred[7::16, 7::16] / 2 + blurred[8::16, 8::16] / 2
    scenes = np.resize(every_kind(1.3, -0.4, 0, 6.2), (32, 5))
    drawn = np.asarray(render(scenes, canvas=32))[shapes.KINDS.index(kind), ..., 0]
    # Corners and curves apart, where a distance says less than an area.
    assert np.abs(drawn - reference).max() < (0.05 if kind == "disc" else 0.2)
    assert np.abs(drawn - reference).mean() < 0.003


def test_the_gradient_to_the_pose_is_finite_and_a_difference_quotient():
    rows = np.arange(32, dtype=np.float32)
    weights = np.sin(rows / 5)[:, None, None] * np.cos(rows / 7 + 1)[None, :, None] + 0.05 * rows[:, None, None]
    slope = jax.jit(jax.grad(lambda scenes: (shapes.render(scenes, canvas=32) * weights[None]).sum()))

    def score(scenes):
        return (np.asarray(render(np.resize(scenes, (32, 5)), canvas=32))[:8] * weights).sum((1, 2, 3))

    # In the middle of a pixel a length is zero, where a careless square root has no gradient.
    assert np.isfinite(slope(every_kind(0.5, 0.5, 0, 6))).all()
    scenes = every_kind(0.37, -0.21, 7, 6.1)
    gradient = slope(scenes)
    for column in (shapes.DOWN, shapes.RIGHT, shapes.RADIUS):
        step = np.zeros((1, 5), np.float32)
        step[0, column] = 0.05
        quotient = (score(scenes + step) - score(scenes - step)) / 0.1
        # Where two edges are equally near, as in the star's arms, the slope has jumps that the quotient spans.
        np.testing.assert_allclose(gradient[:, column], quotient, rtol=0.05, atol=0.8)
        assert np.abs(gradient[:, column]).min() > 0.01


def test_samples_are_upright_central_and_stay_inside(scenes):
    assert np.abs(scenes[:, shapes.DEGREES]).max() <= 10
    images = np.asarray(render(scenes, canvas=32))
    inside = np.zeros((32, 32), bool)
    inside[6:26, 6:26] = True
    assert images[:, ~inside].max() == 0
    np.testing.assert_array_equal(np.bincount(scenes[:, shapes.KIND].astype(int)), 4)


def test_the_first_samples_do_not_depend_on_how_many():
    sample = jax.jit(shapes.sample, static_argnums=1)
    np.testing.assert_array_equal(sample(jax.random.key(0), 40)[:7], sample(jax.random.key(0), 7))


def test_the_dataset_is_its_scenes_rendered():
    data = load(DataConfig("shapes", train_images=600, test_images=100), max_shift=6)
    assert data.train.images.shape == (600, 32, 32, 1)
    assert data.test.scenes.shape == (100, 5)
    assert data.margin == 6
    # The first, those where the second block of 500 begins, and the last: that block is not full.
    for part in (slice(32), slice(484, 516), slice(-32, None)):
        drawn = np.asarray(render(data.train.scenes[part], canvas=32))
        assert np.abs(drawn - data.train.images[part] / 255).max() <= 0.51 / 255
    np.testing.assert_array_equal(data.train.labels, data.train.scenes[:, shapes.KIND])
    assert not np.array_equal(data.train.scenes[:100], data.test.scenes)


def test_shapes_too_small_to_see_are_refused():
    with pytest.raises(InputError, match=r"within 5 pixels; use data.size 8 or more"):
        load(DataConfig("shapes", size=5))
