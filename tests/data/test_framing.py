"""What is seen of an image: its middle and its random parts, beside Pillow on boxes written out, NumPy and SciPy."""

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from cnnjax import InputError
from cnnjax.data import DataConfig, load
from cnnjax.data.framing import DRAWS, RATIOS, Part, Whole, draws_of, part_of
from tests.data.photographs import photographs

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (375, 500, 3)).astype(np.uint8))


def test_the_middle_is_that_of_the_shorter_side_at_256_of_224():
    upright = PICTURE.transpose(Image.Transpose.ROTATE_90)
    # 256 · 500 / 375 = 341.3, and (341 − 224) / 2 = 58.5, of which halves go to the even number
    wide = PICTURE.resize((341, 256), Image.Resampling.BILINEAR).crop((58, 16, 282, 240))
    tall = upright.resize((256, 341), Image.Resampling.BILINEAR).crop((16, 58, 240, 282))
    np.testing.assert_array_equal(np.asarray(Whole(224, "center")(PICTURE)), np.asarray(wide))
    np.testing.assert_array_equal(np.asarray(Whole(224, "center")(upright)), np.asarray(tall))


@pytest.mark.parametrize("size", [(375, 500), (500, 375), (31, 64), (40, 40), (19, 200)])
def test_by_default_the_shorter_side_is_resized_and_the_middle_taken(size):
    """Torchvision's Resize(24, BICUBIC) and CenterCrop(24), their sizes and places written out in Pillow's terms."""
    picture = PICTURE.resize(size)
    width, height = size
    resized = (int(24 * width / height), 24) if height <= width else (24, int(24 * height / width))
    left, top = (round((side - 24) / 2.0) for side in resized)
    expected = picture.resize(resized, Image.Resampling.BICUBIC).crop((left, top, left + 24, top + 24))
    np.testing.assert_array_equal(np.asarray(Whole(24)(picture)), np.asarray(expected))


def test_proportions_are_kept_unless_stretching_is_asked_for():
    """A disc in the middle of a wide picture, and what is as wide as it is high of it."""
    y, x = np.mgrid[:60, :120]
    disc = Image.fromarray((255 * ((y - 29.5) ** 2 + (x - 59.5) ** 2 < 25**2)).astype(np.uint8))

    def sides(fit):
        lit = np.asarray(Whole(30, fit)(disc)) > 127
        return lit.any(0).sum(), lit.any(1).sum()

    wide, high = sides("cover")
    assert wide == high > 20
    wide, high = sides("stretch")
    assert wide == pytest.approx(high / 2, abs=1)


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        ("cover", ", the shorter side resized to 24 and of that the middle 24×24"),
        ("center", ", the shorter side resized to 27 and of that the middle 24×24"),
        ("stretch", ", stretched to 24×24"),
    ],
)
def test_how_images_come_to_their_size_is_said(fit, said, tmp_path):
    assert str(Whole(24, fit)) == said
    photographs(tmp_path, 5)
    assert said in load(DataConfig("folder", tmp_path, size=24, fit=fit)).note


def test_a_square_is_the_same_covered_and_stretched():
    square = PICTURE.crop((0, 0, 100, 100))
    np.testing.assert_array_equal(np.asarray(Whole(24)(square)), np.asarray(Whole(24, "stretch")(square)))


def test_a_part_is_pillows_crop_resized():
    draws = np.full(DRAWS, 0.5)
    # Half of the way from 0.08 to 1, square, in the middle: sqrt(0.54 · 187,500) = 318.2.
    box = (500 - 318 + 1) // 2, (375 - 318 + 1) // 2
    expected = PICTURE.crop((*box, box[0] + 318, box[1] + 318)).resize((24, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(np.asarray(Part(24, 0.08, draws)(PICTURE)), np.asarray(expected))


def test_a_shrunken_part_is_the_weighted_mean_of_its_pixels():
    # At a quarter of the size each pixel is the mean of 8 by weights that fall linearly to both sides.
    row = np.linspace(0, 255, 32).astype(np.uint8) ** 1
    picture = Image.fromarray(np.repeat(row[None], 32, 0))
    weights = np.minimum(np.arange(8) + 0.5, 8 - np.arange(8) - 0.5)
    inner = [row[4 * i - 2 : 4 * i + 6] @ weights / weights.sum() for i in range(1, 7)]
    draws = np.full(DRAWS, 0.5)
    draws[:-2:2] = 1 - 2**-30  # the whole of the area, and square: the whole image
    found = np.asarray(Part(8, 0.08, draws)(picture))
    np.testing.assert_allclose(found[4, 1:7], inner, atol=1)


def test_parts_are_distributed_as_published():
    """Szegedy et al. 2015, section 6, drawn here by rejection with NumPy's generator."""
    width, height, count = 500, 375, 4000
    random = np.random.default_rng(1)
    areas = width * height * random.uniform(0.08, 1, 4 * count)
    ratios = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3), 4 * count))
    w, h = np.sqrt(areas * ratios), np.sqrt(areas / ratios)
    fits = (w <= width) & (h <= height)
    w, h = w[fits][:count], h[fits][:count]
    left, top = random.uniform(0, width - w), random.uniform(0, height - h)
    parts = np.array([part_of(draws_of(7, i), width, height, least=0.08) for i in range(count)])
    assert (parts[:, :2] >= 0).all()
    assert (parts[:, :2] + parts[:, 2:] <= (width, height)).all()
    for found, expected in (
        (parts[:, 2] * parts[:, 3], w * h),
        (parts[:, 2] / parts[:, 3], w / h),
        (parts[:, 0], left),
        (parts[:, 1], top),
    ):
        assert stats.ks_2samp(found, expected).pvalue > 0.01
    assert (parts[:, 2] * parts[:, 3]).min() < 0.1 * width * height


@pytest.mark.parametrize(("size", "part"), [((1000, 10), (493, 0, 13, 10)), ((10, 1000), (0, 493, 10, 13))])
def test_of_a_strip_the_middle_is_taken(size, part):
    assert part_of(np.full(DRAWS, 0.999), *size, least=0.9) == part
    assert RATIOS == (3 / 4, 4 / 3)


def test_draws_are_uniform_and_follow_from_their_numbers():
    found = np.concatenate([draws_of(3, i) for i in range(2000)])
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert not np.array_equal(draws_of(1, 2), draws_of(2, 1))
    # The first numbers of NumPy's seed sequence, which it promises to keep.
    np.testing.assert_array_equal(draws_of(5), (np.random.SeedSequence(5).generate_state(DRAWS, "u8") >> 11) / 2**53)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(fit="center"), "data.fit is center; give data.size"),
        (dict(crop_area=0.5), "data.crop_area is 0.5; give data.size"),
        (dict(crop_area=0.0, size=8), "data.crop_area is 0.0; it must be a number from 0.001 to 1"),
        (dict(crop_area=1.5, size=8), "data.crop_area is 1.5; it must be"),
        (dict(memory=-1.0), "data.memory is -1.0; it must be a number from 0"),
        (dict(workers=-1), "data.workers is -1; it must be a whole number from 0 to 1024"),
        (dict(crop_area=0.5, size=8), "digits is made in memory"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        load(DataConfig(**options), stream=True)
