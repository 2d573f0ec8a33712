import numpy as np
import pytest
from PIL import Image

from cnnjax import InputError, data


def test_reads_a_file_upright_in_colour_and_scaled(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    np.testing.assert_array_equal(data.load_image(tmp_path / "photo.png"), pixels.astype(np.float32) / 255)


def test_a_carried_photograph_is_that_of_its_package():
    sklearn = pytest.importorskip("sklearn.datasets")
    np.testing.assert_allclose(data.load_image("china") * 255, sklearn.load_sample_image("china.jpg"), atol=1e-4)


@pytest.mark.parametrize("name", ["astronaut", "motorcycle_right", "gravel"])
def test_every_kind_of_carried_image_has_three_channels(name):
    pytest.importorskip("skimage", reason="scikit-image carries these images")
    image = data.load_image(name)
    assert image.shape[2] == 3
    assert 0 <= image.min() < 0.2 < 0.8 < image.max() <= 1


def test_says_what_is_no_image(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match=r"text\.png cannot be read"):
        data.load_image(tmp_path / "text.png")
    with pytest.raises(InputError, match="no image file; give the path of one, or one of astronaut"):
        data.load_image("absent.jpg")


def test_the_central_square_is_the_middle():
    image = np.zeros((4, 8, 3), np.float32)
    image[:, 2:6] = 1
    np.testing.assert_allclose(data.central_square(image, 4), 1, atol=1e-6)
    assert data.central_square(image, 3).shape == (3, 3, 3)
