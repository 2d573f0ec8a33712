"""The user's own folders of images, made here with Pillow."""

import numpy as np
import pytest
from PIL import Image

from cnnjax import InputError
from cnnjax.data import DataConfig, load


def fill(folder, count, *, classes=("cat", "dog"), size=(6, 5), suffix="png", mode="L"):
    """Write `count` images a class whose grey levels tell class and number; (width, height) is `size`."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.new("L", size, 100 * label + i).convert(mode).save(folder / name / f"{i:03d}.{suffix}")
    return folder


def refused(message, *, max_shift=0, **options):
    with pytest.raises(InputError, match=message):
        load(DataConfig("folder", **options), max_shift=max_shift)


def test_every_fifth_file_of_a_class_is_for_test(tmp_path):
    data = load(DataConfig("folder", fill(tmp_path, 10)))
    assert data.class_names == ("cat", "dog")
    assert data.train.images.shape == (16, 5, 6, 1)
    assert sorted(data.test.images[:, 0, 0, 0]) == [4, 9, 104, 109]
    np.testing.assert_array_equal(data.train.labels, data.train.images[:, 0, 0, 0] // 100)
    np.testing.assert_array_equal(data.test.labels, data.test.images[:, 0, 0, 0] // 100)
    assert "every 5th file of each class in name order is for test" in data.note
    assert data.margin == 0


def test_train_and_test_folders_are_used_when_both_exist(tmp_path):
    fill(tmp_path / "train", 3)
    fill(tmp_path / "test", 2, classes=("dog",))
    data = load(DataConfig("folder", tmp_path))
    assert len(data.train.images) == 6
    np.testing.assert_array_equal(data.test.labels, [1, 1])
    assert "its own train and test folders" in data.note


def test_a_class_only_in_test_is_refused(tmp_path):
    fill(tmp_path / "train", 3)
    fill(tmp_path / "test", 2, classes=("dog", "emu"))
    refused("has classes that .*train has not: emu", data_dir=tmp_path)


def test_an_empty_test_folder_is_refused(tmp_path):
    fill(tmp_path / "train", 3)
    (tmp_path / "test").mkdir()
    refused("test has no images in class folders", data_dir=tmp_path)


def test_no_data_dir_is_refused():
    refused(r"data.name folder needs data.data_dir")


def test_a_directory_that_is_none_is_refused(tmp_path):
    refused("nowhere is not a directory", data_dir=tmp_path / "nowhere")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    refused(r"has no images in class folders, such as .*cat.1\.png; files ending in \.bmp", data_dir=tmp_path)


def test_one_class_is_refused(tmp_path):
    refused(r"has images of one class only \(cat\)", data_dir=fill(tmp_path, 5, classes=("cat",)))


def test_too_few_images_to_split_are_refused(tmp_path):
    refused("has fewer than 5 images in every class", data_dir=fill(tmp_path, 4))


def test_a_truncated_image_is_named(tmp_path):
    fill(tmp_path, 5, size=(64, 64))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    broken = tmp_path / "dog" / "002.png"
    Image.fromarray(noise).save(broken)
    broken.write_bytes(broken.read_bytes()[:2000])
    refused(r"the image .*dog.002\.png cannot be read .*; mend or remove it", data_dir=tmp_path)


def test_a_file_that_is_no_image_is_named_before_any_is_decoded(tmp_path):
    fill(tmp_path, 5)
    (tmp_path / "cat" / "001.png").write_text("not an image")
    calls = []
    with pytest.raises(InputError, match=r"the image .*cat.001\.png cannot be read"):
        load(DataConfig("folder", tmp_path), progress=lambda *call: calls.append(call))
    assert calls == []


def test_differing_sizes_need_one_to_resize_to(tmp_path):
    fill(tmp_path, 5)
    Image.new("L", (9, 4), 7).save(tmp_path / "dog" / "001.png")
    refused(r"001\.png is 4×9 pixels, but the first image is 5×6; give data.size", data_dir=tmp_path)
    assert load(DataConfig("folder", tmp_path, size=8)).train.images.shape[1:] == (8, 8, 1)


def test_grey_among_colour_becomes_colour(tmp_path):
    fill(tmp_path, 5)
    Image.new("RGB", (6, 5), (255, 0, 0)).save(tmp_path / "cat" / "000.png")
    data = load(DataConfig("folder", tmp_path))
    assert data.train.images.shape[1:] == (5, 6, 3)
    assert {tuple(image[0, 0]) for image in data.train.images[data.train.labels == 0]} == {
        (255, 0, 0),
        *((i, i, i) for i in (1, 2, 3)),
    }


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        ("bmp", "L"),
        ("gif", "L"),
        ("png", "1"),
        ("png", "P"),
        ("png", "LA"),
        ("tif", "L"),
        ("webp", "RGB"),
        ("JPG", "RGB"),
    ],
)
def test_kinds_of_files_and_modes(suffix, mode, tmp_path):
    data = load(DataConfig("folder", fill(tmp_path, 5, suffix=suffix, mode=mode)))
    assert data.train.images.shape[:3] == (8, 5, 6)
    if mode != "1":
        levels = data.train.images[..., 0].mean((1, 2))
        assert np.abs(np.sort(levels) - [0, 1, 2, 3, 100, 101, 102, 103]).max() <= 3


def test_transparency_is_laid_over_black(tmp_path):
    fill(tmp_path, 5, mode="RGB")
    Image.new("RGBA", (6, 5), (200, 100, 50, 0)).save(tmp_path / "cat" / "000.png")
    Image.new("RGBA", (6, 5), (200, 100, 50, 255)).save(tmp_path / "cat" / "001.png")
    palette = Image.new("P", (6, 5), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "cat" / "002.png")
    palette.save(tmp_path / "cat" / "003.png", transparency=1)
    data = load(DataConfig("folder", tmp_path))
    cats = sorted(tuple(int(v) for v in image[2, 2]) for image in data.train.images[data.train.labels == 0])
    assert cats == [(0, 0, 0), (0, 0, 0), (10, 20, 30), (200, 100, 50)]


def test_sixteen_bits_of_grey_are_scaled_not_clipped(tmp_path):
    fill(tmp_path, 5)
    Image.fromarray(np.full((5, 6), 128 * 257, np.uint16)).save(tmp_path / "cat" / "000.png")
    data = load(DataConfig("folder", tmp_path))
    assert data.train.images[data.train.labels == 0].max() == 128


def test_a_camera_held_sideways_is_turned_upright(tmp_path):
    fill(tmp_path, 5, size=(8, 4), suffix="jpg", mode="RGB")
    picture = np.zeros((8, 4, 3), np.uint8)
    picture[:4] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying down: turn clockwise to view
    for name in ("cat", "dog"):
        for i in range(5):
            Image.fromarray(np.rot90(picture)).save(tmp_path / name / f"{i:03d}.jpg", exif=exif, quality=100)
    data = load(DataConfig("folder", tmp_path))
    assert data.train.images.shape[1:] == (8, 4, 3)
    assert data.train.images[0, 0].min() > 240
    assert data.train.images[0, -1].max() < 15


def test_hidden_files_and_other_files_do_not_count(tmp_path):
    fill(tmp_path, 5)
    (tmp_path / "cat" / "._000.png").write_bytes(b"left by a file manager")
    (tmp_path / ".thumbnails").mkdir()
    Image.new("L", (6, 5)).save(tmp_path / ".thumbnails" / "1.png")
    (tmp_path / "readme.txt").write_text("about")
    data = load(DataConfig("folder", tmp_path))
    assert data.class_names == ("cat", "dog")
    assert len(data.train.images) + len(data.test.images) == 10


def test_limits_and_canvas(tmp_path):
    data = load(DataConfig("folder", fill(tmp_path, 10), train_images=4, test_images=2, canvas=10), max_shift=2)
    assert data.train.images.shape == (4, 10, 10, 1)
    assert data.test.images.shape == (2, 10, 10, 1)
    assert data.margin == 2
    refused("canvas of 9 pixels .* 6 pixels shifted by up to 2", data_dir=tmp_path, canvas=9, max_shift=2)


def test_a_changed_file_is_decoded_anew_and_the_rest_comes_from_the_cache(tmp_path):
    images = tmp_path / "images"
    first = load(DataConfig("folder", fill(images, 5)))
    calls = []
    again = load(DataConfig("folder", images), progress=lambda *call: calls.append(call))
    assert calls == []
    np.testing.assert_array_equal(again.train.images, first.train.images)
    Image.new("L", (6, 5), 250).save(images / "cat" / "000.png")
    assert load(DataConfig("folder", images)).train.images.max() == 250
