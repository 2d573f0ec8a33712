"""Values, masks and grey images: every function of priors that takes images, as users would give them."""

import brute_force
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, data, jigsaw, patches

pytestmark = pytest.mark.usefixtures("without_type_checks")

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.random((16, 20, 3), np.float32)
OTHER = RANDOM.random((14, 15, 3), np.float32)
GREY, OTHER_GREY = IMAGE[..., 0], OTHER[..., 0]
HOLE = np.zeros((16, 20), bool)
HOLE[6:9, 7:11] = True
KEY = jax.random.key(0)


def puzzle(image):
    return jnp.asarray(image[:16, :16].reshape(2, 8, 2, 8, -1).swapaxes(1, 2).reshape(4, 8, 8, -1))


def arranged(pieces):
    return jigsaw.Arrangement(np.arange(len(pieces)).reshape(2, 2), np.zeros((2, 2), int))


OF_IMAGES = {
    "nearest_patches, source": lambda x: patches.nearest_patches(jnp.asarray(x), jnp.asarray(OTHER), patch_size=3),
    "nearest_patches, target": lambda x: patches.nearest_patches(jnp.asarray(OTHER), jnp.asarray(x), patch_size=3),
    "patchmatch, source": lambda x: patches.patchmatch(jnp.asarray(x), jnp.asarray(OTHER), key=KEY, patch_size=3),
    "patchmatch, target": lambda x: patches.patchmatch(jnp.asarray(OTHER), jnp.asarray(x), key=KEY, patch_size=3),
    "similar_patches": lambda x: patches.similar_patches(jnp.asarray(x), 2, 3, k=2, patch_size=3),
    "randomize_phase": lambda x: patches.randomize_phase(KEY, jnp.asarray(x)),
    "shuffle_pixels": lambda x: patches.shuffle_pixels(KEY, jnp.asarray(x)),
    "resize": lambda x: data.resize(x, (4, 5)),
    "central_square": lambda x: data.central_square(x, 4),
    "inpaint": lambda x: patches.inpaint(x, HOLE, key=KEY, patch_size=3),
    "jigsaw.cut": lambda x: jigsaw.cut(jnp.asarray(x), side=8),
    "jigsaw.shuffle": lambda x: jigsaw.shuffle(KEY, puzzle(x)),
    "jigsaw.turn": lambda x: jigsaw.turn(puzzle(x), jnp.arange(4)),
    "jigsaw.render": lambda x: jigsaw.render(puzzle(x), arranged(puzzle(x))),
    "jigsaw.fits": lambda x: jigsaw.fits(puzzle(x), jigsaw.color_jump),
    "jigsaw.solve": lambda x: jigsaw.solve(puzzle(x), (2, 2), key=KEY, patience=0),
    "jigsaw.frames": lambda x: jigsaw.frames(puzzle(x)),
    "jigsaw.diagnose": lambda x: jigsaw.diagnose(puzzle(x), jigsaw.fits(puzzle(IMAGE), jigsaw.color_jump), (2, 2)),
    "jigsaw.rgb_to_lab": lambda x: jigsaw.rgb_to_lab(jnp.asarray(x)),
    "jigsaw.in_lab": lambda x: jigsaw.in_lab(jigsaw.color_jump)(puzzle(x)[:, :, -2:], puzzle(IMAGE)[:, :, 1::-1]),
}


@pytest.mark.parametrize("name", OF_IMAGES)
def test_values_outside_the_range_are_refused_with_it_and_the_remedy(name):
    pixels = RANDOM.integers(0, 256, IMAGE.shape).astype(np.float32)
    pixels[0, 0] = 0, 255, 255
    pixels[15, 15] = 255
    with pytest.raises(InputError, match=r"values from .* to 255, outside \[0, 1\]: divide pixels by 255"):
        OF_IMAGES[name](pixels)
    for strange in (np.nan, np.inf, -np.inf):
        image = IMAGE.copy()
        image[1, 7, 1] = strange
        with pytest.raises(InputError, match="must be finite; it contains NaN or infinity"):
            OF_IMAGES[name](image)
    image = IMAGE.copy()
    image[1, 7, 1] = -0.5
    with pytest.raises(InputError, match=r"values from -0.5 to .*, outside \[0, 1\]"):
        OF_IMAGES[name](image)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_floats_are_measured_too(dtype):
    with pytest.raises(InputError, match="outside"):
        patches.nearest_patches(jnp.asarray(255 * IMAGE, dtype), jnp.asarray(OTHER, dtype), patch_size=3)


def test_what_lies_in_the_hole_may_be_anything():
    strange = np.where(HOLE[..., None], np.nan, IMAGE)
    np.testing.assert_array_equal(OF_IMAGES["inpaint"](strange), OF_IMAGES["inpaint"](IMAGE))


MASKS = {
    "booleans": HOLE,
    "0 and 255 as uint8": np.uint8(255 * HOLE),
    "0 and 1 as uint8": HOLE.astype(np.uint8),
    "0 and 1 as int32": HOLE.astype(np.int32),
    "0 and 1 as float32": HOLE.astype(np.float32),
    "0 and 255 as float32": 255 * HOLE.astype(np.float32),
}


def test_every_natural_mask_means_the_same():
    allowed = [(y, x) for y in range(14) for x in range(18) if not HOLE[y : y + 3, x : x + 3].any()]
    distances, _, corners = brute_force.all_distances(IMAGE, OTHER, 3)
    least = distances[:, [i for i, corner in enumerate(corners) if tuple(corner) in allowed]].min(axis=1)
    filled = OF_IMAGES["inpaint"](IMAGE)
    source, target = jnp.asarray(IMAGE), jnp.asarray(OTHER)
    guessed = patches.patchmatch(source, target, key=KEY, patch_size=3, mask=jnp.asarray(HOLE))
    for mask in MASKS.values():
        exact = patches.nearest_patches(source, target, patch_size=3, mask=jnp.asarray(mask))
        np.testing.assert_allclose(np.ravel(exact.distance), least, rtol=1e-5)
        near = patches.patchmatch(source, target, key=KEY, patch_size=3, mask=jnp.asarray(mask))
        np.testing.assert_array_equal(near.position, guessed.position)
        np.testing.assert_array_equal(patches.inpaint(IMAGE, mask, key=KEY, patch_size=3), filled)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (0.5 * HOLE, "values from 0 to 0.5; give booleans, 0 and 1, or 0 and 255"),
        (np.where(HOLE, np.nan, 0), "values from nan to nan; give booleans"),
        (np.uint8(7 * HOLE), "values from 0 to 7"),
        (-1 * HOLE, "values from -1 to 0"),
        (HOLE[..., None], "mask is 16×20×1 pixels, but the image is 16×20"),
        (HOLE.T, "mask is 20×16 pixels"),
        (HOLE[0], "mask is 20 pixels"),
    ],
)
def test_other_masks_are_refused(mask, message):
    source = jnp.asarray(IMAGE)
    for call in (
        lambda: patches.nearest_patches(source, source, patch_size=3, mask=jnp.asarray(mask)),
        lambda: patches.patchmatch(source, source, key=KEY, patch_size=3, mask=jnp.asarray(mask)),
        lambda: patches.inpaint(IMAGE, mask, key=KEY, patch_size=3),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_a_traced_mask_is_boolean():
    source = jnp.asarray(IMAGE)
    search = jax.jit(lambda mask: patches.nearest_patches(source, source, patch_size=3, mask=mask).distance)
    assert search(jnp.asarray(HOLE)).shape == (14, 18, 1)
    with pytest.raises(InputError, match="inside jit give booleans"):
        search(jnp.asarray(HOLE, jnp.uint8))


def test_a_grey_image_is_one_of_one_channel():
    one, other = GREY[..., None], OTHER_GREY[..., None]
    for search in (patches.nearest_patches, lambda *images, **options: patches.patchmatch(*images, key=KEY, **options)):
        found = search(jnp.asarray(GREY), jnp.asarray(OTHER_GREY), patch_size=3)
        expected = search(jnp.asarray(one), jnp.asarray(other), patch_size=3)
        np.testing.assert_array_equal(found.position, expected.position)
        np.testing.assert_array_equal(found.distance, expected.distance)
    for name in ("similar_patches", "randomize_phase", "shuffle_pixels", "resize", "central_square", "inpaint"):
        grey, column = OF_IMAGES[name](GREY), OF_IMAGES[name](one)
        for got, expected in zip(jax.tree.leaves(grey), jax.tree.leaves(column), strict=True):
            assert got.shape == (expected.shape[:2] if name != "similar_patches" else expected.shape)
            np.testing.assert_array_equal(np.ravel(got), np.ravel(expected))
    assert jigsaw.cut(jnp.asarray(GREY), side=8).pieces.shape == (4, 8, 8, 1)


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2, 2), (0, 4, 3), ()])
def test_what_has_no_shape_of_an_image_is_refused(shape):
    for name, call in OF_IMAGES.items():
        if "jigsaw" not in name or "cut" in name:
            with pytest.raises(InputError, match=r"has shape .* \(height, width, "):
                call(np.zeros(shape, np.float32))


def test_pixels_of_files_as_they_are_are_refused():
    for name, call in OF_IMAGES.items():
        if "jigsaw" not in name or "cut" in name:
            with pytest.raises(InputError, match=r"[Dd]ivide .* by 255"):
                call(np.uint8(255 * IMAGE))


SOURCE = jnp.asarray(IMAGE)
PIECES = puzzle(IMAGE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.central_square(IMAGE, 0), "side=0: give a square of at least 1 pixel"),
        (lambda: data.central_square(IMAGE, -3), "side=-3"),
        (lambda: data.resize(IMAGE, (0, 4)), r"size=\(0, 4\)"),
        (lambda: data.resize(IMAGE, (2**20, 2**20)), "too many to count"),
        (lambda: patches.nearest_patches(SOURCE, SOURCE, k=65), "k=65 must be at least 1 and at most 64"),
        (lambda: patches.patchmatch(SOURCE, SOURCE, key=KEY, k=65), "k=65 must be at least 1 and at most 64"),
        (lambda: patches.nearest_patches(SOURCE, SOURCE, exclusion=-1), "exclusion=-1 must not be negative"),
        (lambda: patches.nearest_patches(SOURCE, SOURCE, exclusion=14), "exclusion=14 forbids every match.* than 13"),
        (lambda: patches.patchmatch(SOURCE, SOURCE, key=KEY, exclusion=2**40), "forbids every match"),
        (lambda: patches.patchmatch(SOURCE, SOURCE, key=KEY, iterations=2**31), "iterations=2147483648 must not be"),
        (lambda: patches.patchmatch(SOURCE, SOURCE, key=KEY, stop_below=1.5), "stop_below=1.5 lie"),
        (lambda: patches.patchmatch(SOURCE, SOURCE, key=KEY, stop_below=float("nan")), "stop_below"),
        (lambda: patches.similar_patches(SOURCE, -1, 0), r"patch at \(-1, 0\) leaves the image"),
        (lambda: patches.similar_patches(SOURCE, 0, 14), r"patch at \(0, 14\) leaves the image"),
        (lambda: patches.similar_patches(SOURCE, 0, 0, k=0), "k=0"),
        (lambda: patches.similar_patches(SOURCE, 0, 0, patch_size=0), "patch_size=0"),
        (lambda: patches.inpaint(IMAGE, HOLE, key=KEY, patch_size=0), "patch_size=0"),
        (lambda: jigsaw.cut(SOURCE, side=0), "pieces of 0 pixels"),
        (lambda: jigsaw.agreed(jigsaw.fits(PIECES, jigsaw.color_jump), rounds=-1), "rounds=-1 must lie from 0 to 100"),
        (lambda: jigsaw.pomeranz(PIECES[:, :, :2], PIECES[:, :, :2], p=0.0), "p=0.0 and q=0.0625 must be finite"),
        (lambda: jigsaw.pomeranz(PIECES[:, :, :2], PIECES[:, :, :2], q=-1.0), "q=-1.0 must be finite and above 0"),
        (
            lambda: jigsaw.render(PIECES, jigsaw.Arrangement(np.full((2, 2), 7), np.zeros((2, 2), int))),
            "give the arrangement of these pieces",
        ),
        (lambda: jigsaw.true_arrangement(jigsaw.shuffle(KEY, PIECES), (3, 2)), "4 pieces do not fill 3×2 cells"),
        (
            lambda: jigsaw.score(arranged(PIECES), arranged(PIECES), labels=np.zeros((3, 4), int)),
            r"labels have shape \(3, 4\); give \(4, 4\)",
        ),
        (
            lambda: jigsaw.diagnose(PIECES, jigsaw.fits(PIECES, jigsaw.color_jump), (3, 2)),
            r"4 pieces, costs of 4 and a grid of \(3, 2\)",
        ),
        (
            lambda: jigsaw.right_best_neighbors(
                jigsaw.fits(PIECES, jigsaw.color_jump),
                jigsaw.Arrangement(np.zeros((2, 3), int), np.zeros((2, 3), int)),
            ),
            "costs of 4 pieces do not fit an arrangement of 6",
        ),
    ],
)
def test_numbers_that_make_no_sense_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


OF_INTEGERS = {
    "nearest_patches, k": lambda n: patches.nearest_patches(SOURCE, SOURCE, k=n),
    "nearest_patches, patch_size": lambda n: patches.nearest_patches(SOURCE, SOURCE, patch_size=n),
    "nearest_patches, exclusion": lambda n: patches.nearest_patches(SOURCE, SOURCE, exclusion=n),
    "patchmatch, k": lambda n: patches.patchmatch(SOURCE, SOURCE, key=KEY, k=n),
    "patchmatch, exclusion": lambda n: patches.patchmatch(SOURCE, SOURCE, key=KEY, exclusion=n),
    "patchmatch, iterations": lambda n: patches.patchmatch(SOURCE, SOURCE, key=KEY, iterations=n),
    "similar_patches, k": lambda n: patches.similar_patches(SOURCE, 0, 0, k=n),
    "similar_patches, y": lambda n: patches.similar_patches(SOURCE, n, 0),
    "inpaint, patch_size": lambda n: patches.inpaint(IMAGE, HOLE, key=KEY, patch_size=n),
    "central_square, side": lambda n: data.central_square(IMAGE, n),
    "resize, size": lambda n: data.resize(IMAGE, (n, 3)),
    "cut, side": lambda n: jigsaw.cut(SOURCE, side=n),
    "solve, patience": lambda n: jigsaw.solve(PIECES, (2, 2), key=KEY, patience=n),
}


@pytest.mark.parametrize("name", OF_INTEGERS)
def test_a_whole_number_is_asked_for(name):
    for value in (1.5, float("nan"), float("inf"), "3", None, True):
        with pytest.raises(InputError, match=r"must be (an int|a tuple of 2 )"):
            OF_INTEGERS[name](value)


@pytest.mark.parametrize(
    "call",
    [
        lambda key: patches.patchmatch(SOURCE, SOURCE, key=key),
        lambda key: patches.inpaint(IMAGE, HOLE, key=key),
        lambda key: patches.randomize_phase(key, SOURCE),
        lambda key: patches.shuffle_pixels(key, SOURCE),
        lambda key: jigsaw.shuffle(key, PIECES),
        lambda key: jigsaw.solve(PIECES, (2, 2), key=key),
    ],
)
def test_a_seed_is_not_a_key(call):
    with pytest.raises(InputError, match=r"key=3 must be a random key; give jax.random.key\(3\)"):
        call(3)


def test_lists_are_images_and_masks():
    found = patches.nearest_patches(IMAGE.tolist(), OTHER.tolist(), patch_size=3, mask=HOLE.tolist())
    expected = patches.nearest_patches(SOURCE, jnp.asarray(OTHER), patch_size=3, mask=jnp.asarray(HOLE))
    np.testing.assert_array_equal(found.position, expected.position)
