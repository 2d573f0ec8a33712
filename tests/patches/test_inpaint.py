import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cnnjax import InputError, patches
from cnnjax.patches import hole as hole_parts
from cnnjax.patches.distances import GRAIN
from cnnjax.runs import cli
from experiments import patchmatch as removal

SHAPE = (45, 47)  # one for all, so that programs are compiled once
HOLE = np.zeros(SHAPE, bool)
HOLE[17:31, 18:32] = True


def fill(image, mask=HOLE, key=0, **options):
    return patches.inpaint(image, mask, key=jax.random.key(key), patch_size=5, **options)


def texture(seed):
    rng = np.random.default_rng(seed)
    layers = (np.kron(rng.random((48 // n, 48 // n, 3)), np.ones((n, n, 1))) / 3 for n in (1, 4, 8))
    return sum(layers).astype(np.float32)[: SHAPE[0], : SHAPE[1]]


def test_known_pixels_are_unchanged_to_the_bit_whatever_the_hole_held():
    image = texture(0)
    filled = fill(image)
    np.testing.assert_array_equal(filled[~HOLE], image[~HOLE])
    assert np.any(filled[HOLE] != image[HOLE])
    np.testing.assert_array_equal(fill(np.where(HOLE[..., None], np.float32(0.5), image)), filled)


def test_texture_is_the_mean_difference_of_known_neighbours():
    """Written out as sums over all pairs of neighbours, away from the border, which mirrors."""
    side, reach, contrast = 140, 12, 7
    rng = np.random.default_rng(8)
    image = (0.5 + 0.08 * rng.random((side, side, 3))).astype(np.float32)
    hole = np.zeros((side, side), bool)
    hole[60:75, 62:80] = True
    found = hole_parts.texture(np.where(hole[:, :, None], 0, image), hole)
    grey = np.asarray(image, np.float64).mean(axis=2)
    y, x = np.indices((side, side))
    for axis, (down, along) in enumerate([(1, 0), (0, 1)]):
        first, second = (slice(0, side - down), slice(0, side - along)), (slice(down, side), slice(along, side))
        pairs = ~hole[first] & ~hole[second]
        steps = np.abs(grey[second] - grey[first])
        for row, column in [(57, 70), (76, 61), (60, 81), (70, 58)]:
            squared = ((y - row) ** 2 + (x - column) ** 2)[first]
            weight = pairs * np.exp(-squared / (2 * reach**2)) * (squared <= (4 * reach + 9) ** 2)
            expected = contrast * (weight * steps).sum() / weight.sum()
            np.testing.assert_allclose(found[row, column, axis], expected, atol=2e-3)
    np.testing.assert_array_equal(found[hole], 0)


def test_weights_fall_by_half_for_each_pixel_and_never_vanish():
    hole = np.zeros((500, 500), bool)
    hole[100:400, 100:400] = True
    weights = hole_parts.patch_weights(hole, 7)
    middle = weights[247, 94:397]  # of the patches whose centres lie in columns 97 to 399
    np.testing.assert_allclose(middle[:3], 1)
    np.testing.assert_allclose(middle[3:33], 0.5 ** np.arange(1, 31))
    assert middle.min() > 1e-15
    np.testing.assert_array_equal(weights[:94], 0)


def test_a_smooth_filling_is_harmonic():
    """A hole that reaches the edge of a ramp along it: the ramp, as Laplace's equation with a free edge has it."""
    ramp = np.repeat(np.linspace(0, 1, 13, dtype=np.float32)[None, :, None], 9, axis=0)
    inside = np.zeros((9, 13), bool)
    inside[3:, 4:10] = True
    inside[1, 2] = True
    filled = hole_parts.smooth(np.where(inside[:, :, None], np.float32(0.5), ramp), inside)
    np.testing.assert_allclose(filled, ramp, atol=0.5 / GRAIN + 1e-6)
    noise = np.random.default_rng(0).random((9, 13, 2)).astype(np.float32)
    filled = hole_parts.smooth(noise, inside)
    np.testing.assert_array_equal(filled[~inside], noise[~inside])
    around = np.pad(filled, ((1, 1), (1, 1), (0, 0)), mode="edge")
    mean = (around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) / 4
    np.testing.assert_allclose(filled[inside], mean[inside], atol=1 / GRAIN)


def test_place_is_the_share_of_the_way_down_and_along():
    image = np.zeros((4, 8, 3), np.float32)
    places = hole_parts.with_place(image)[:, :, -hole_parts.PLACES :]
    down, along = np.meshgrid((np.arange(4) + 0.5) / 4, (np.arange(8) + 0.5) / 8, indexing="ij")
    np.testing.assert_allclose(places, 0.07 * np.stack([down, along], -1), atol=0.5 / GRAIN + 1e-6)


def test_rough_surroundings_are_not_filled_smoothly():
    """Half of the image is noise, half flat of the same mean: a hole in the noise becomes as rough as it."""
    rng = np.random.default_rng(9)
    image = np.full((*SHAPE, 3), 0.5, np.float32)
    image[:, 10:] += 0.2 * (rng.random((SHAPE[0], 37, 1), np.float32) - 0.5)
    filled = fill(image)
    assert filled[HOLE].std() > 0.6 * image[HOLE].std()


def test_a_periodic_texture_is_restored_exactly():
    rng = np.random.default_rng(1)
    tile = rng.integers(0, 256, (8, 8, 3)).astype(np.float32) / 255
    image = np.tile(tile, (6, 6, 1))[: SHAPE[0], : SHAPE[1]]
    np.testing.assert_allclose(fill(image), image, atol=1e-6)


def test_a_constant_stays_constant():
    image = np.full((*SHAPE, 3), 0.4, np.float32)
    np.testing.assert_allclose(fill(image), image, atol=1e-6)


def test_the_energy_never_rises_within_a_level():
    levels = []
    fill(texture(2), on_level=levels.append)
    assert [(level.number, level.levels) for level in levels] == [(n + 1, len(levels)) for n in range(len(levels))]
    assert len(levels) > 1
    for level in levels:
        energies = np.asarray(level.energies)
        assert np.all(np.diff(energies) <= 1e-6)
        assert energies[-1] < energies[0]


def test_nothing_comes_from_the_hole():
    """The only red pixels lie in the hole: none is left."""
    image = texture(3) * np.asarray([0.2, 1, 1], np.float32)
    image[HOLE] = [1, 0, 0]
    assert fill(image)[HOLE][:, 0].max() < 0.3


def test_same_key_same_filling():
    image = texture(4)
    np.testing.assert_array_equal(fill(image), fill(image))
    assert np.any(fill(image) != fill(image, key=1))


def test_an_empty_mask_changes_nothing():
    image = texture(5)
    np.testing.assert_array_equal(fill(image, np.zeros(SHAPE, bool)), image)


def test_a_hole_at_the_corner():
    image = texture(6)
    hole = np.zeros(SHAPE, bool)
    hole[:14, -14:] = True
    filled = fill(image, hole)
    assert np.all(np.isfinite(filled))
    assert filled[hole].std() > 0.5 * image[hole].std()
    np.testing.assert_array_equal(filled[~hole], image[~hole])


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(SHAPE, bool), "covers the whole image"),
        (np.ones((40, 47), bool), "mask is 40×47 pixels, but the image is 45×47"),
        (np.indices(SHAPE).sum(0) % 4 == 0, "no patch of 5×5 pixels lies outside the mask"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_refuses_masks_that_leave_nothing(mask, message):
    with pytest.raises(InputError, match=message):
        fill(texture(0), mask)
    with pytest.raises(InputError, match="floats"):
        fill(jnp.zeros((*SHAPE, 3), jnp.uint8))


def test_refuses_patches_whose_sums_could_overflow():
    """With two channels for texture and two for place: 17² · 7 · 1020² is less than 2³¹, 18² · 7 · 1020² is more."""
    with pytest.raises(InputError, match=r"patch_size=18 makes patches of 2268 values .* give a smaller patch_size"):
        patches.inpaint(texture(0), HOLE, key=jax.random.key(0), patch_size=18)


@pytest.fixture
def files(tmp_path):
    """A texture as a photograph, and its hole as a mask."""
    photo, mask = tmp_path / "photo.png", tmp_path / "mask.png"
    Image.fromarray(np.uint8(255 * texture(7))).save(photo)
    Image.fromarray(np.uint8(255 * HOLE)).save(mask)
    return photo, mask


def command(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["patchmatch", *map(str, flags)])
    cli.main(removal.Config, removal.run, prog="patchmatch")


def test_removal_by_command(files, tmp_path, monkeypatch, capsys):
    photo, mask = files
    given, result, out = np.asarray(Image.open(photo)), tmp_path / "without.png", tmp_path / "run"
    flags = ("--image", photo, "--mask", mask, "--patch-size", 5, "--result", result, "--out", out)
    command(monkeypatch, *flags)
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == str(out)
    assert "level 1 of 2" in printed.err
    filled = np.asarray(Image.open(result))
    np.testing.assert_array_equal(filled[~HOLE], given[~HOLE])
    assert np.any(filled[HOLE] != given[HOLE])
    np.testing.assert_array_equal(np.asarray(Image.open(out / "result.png")), filled)
    for name in ("removal", "levels"):
        with Image.open(out / "figures" / f"{name}.png") as figure:
            assert len(figure.getcolors(figure.width * figure.height)) > 100  # type: ignore[arg-type]
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, *flags)
    assert "without.png exists; give another name, or --overwrite" in capsys.readouterr().err


def test_a_polygon_and_a_rectangle_name_their_pixels():
    square = removal.Config(rectangle=(3, 5, 10, 20))
    hole = removal.hole_of(square, (30, 40))
    assert hole[3:10, 5:20].all()
    assert hole.sum() == 7 * 15
    triangle = removal.hole_of(removal.Config(polygon=(0, 0, 30, 0, 0, 30)), (40, 40))
    y, x = np.indices((40, 40))
    assert triangle[x + y < 29].all()
    assert not triangle[x + y > 31].any()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "say what to remove"),
        (("--image", __file__, "--rectangle", 0, 0, 9, 9), "cannot be read"),
        (("--mask", "{mask}", "--rectangle", 0, 0, 9, 9), "mask and rectangle are given"),
        (("--rectangle", 0, 0, 46, 9), "rectangle=0 0 46 9 (top, left, bottom, right) must be inside the image"),
        (("--rectangle", 0, 0, 45, 47), "covers the whole image"),
        (("--rectangle", 2, 2, 43, 45), "no patch of 9×9 pixels lies outside the mask"),
        (("--polygon", 1, 2, 3, 4, 5), "polygon has 5 numbers"),
        (("--polygon", 90, 90, 99, 90, 90, 99), "the mask is empty"),
        (("--mask", "{mask}", "--patch-size", 46), "patch_size=46 does not fit"),
        (("--mask", "{mask}", "--result", "x.txt"), "must end as an image file's does"),
        (("--mask", "{mask}", "--result", "x.psd"), "must end as an image file's does"),
        (("--mask", "{mask}", "--result", "absent/x.png"), "there is no folder absent"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(files, tmp_path, monkeypatch, capsys, flags, message):
    photo, mask = files
    flags = [str(flag).format(mask=mask) for flag in flags]
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, "--image", photo, "--out", tmp_path / "run", *flags)
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert message in error
    assert "\n" not in error
    assert not (tmp_path / "run").exists()
