"""Hidden copies, links, pipes, and names that are not text: what lies about in folders of images."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from cnnjax import InputError, data
from cnnjax.data import DataConfig, load
from cnnjax.data.image_files import image_files
from tests.data.test_folder import fill


def test_copies_in_hidden_folders_are_not_read(tmp_path):
    fill(tmp_path, 5)
    hidden = tmp_path / "cat" / ".ipynb_checkpoints"
    hidden.mkdir()
    Image.new("L", (6, 5), 77).save(hidden / "0-checkpoint.png")
    (hidden / "below").mkdir()
    Image.new("L", (6, 5), 77).save(hidden / "below" / "1.png")
    data = load(DataConfig("folder", tmp_path))
    assert len(data.train.images) + len(data.test.images) == 10
    assert 77 not in data.train.images
    assert "left out: hidden file or folder ×1" in data.note


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [("jfif", "JPEG"), ("jpe", "JPEG"), ("JPE", "JPEG"), ("dib", "DIB"), ("pbm", "PPM"), ("pnm", "PPM")],
)
def test_every_ending_of_the_formats_is_read(suffix, kind, tmp_path):
    fill(tmp_path, 5)
    Image.new("1" if suffix == "pbm" else "L", (6, 5), 255).save(tmp_path / "cat" / f"9.{suffix}", kind)
    data = load(DataConfig("folder", tmp_path))
    assert len(data.train.images) + len(data.test.images) == 11
    assert max(data.train.images.max(), data.test.images.max()) == 255


def test_what_is_left_out_is_counted_and_said(tmp_path):
    fill(tmp_path, 5)
    (tmp_path / "elsewhere" / "more").mkdir(parents=True)
    (tmp_path / "cat" / "inside").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "cat" / "circle").symlink_to(tmp_path / "cat")
    (tmp_path / "dog" / "self").symlink_to(tmp_path / "dog" / "self")
    (tmp_path / "dog" / "broken.png").symlink_to(tmp_path / "nothing.png")
    os.mkfifo(tmp_path / "dog" / "pipe.png")
    for name in ("a.heic", "b.HEIC", "notes.txt", "README"):
        (tmp_path / "dog" / name).write_text("x")
    data = load(DataConfig("folder", tmp_path))
    assert len(data.train.images) + len(data.test.images) == 10
    for said in (
        "link to a folder ×2",
        "pipe, device or broken link ×3",
        ".heic ×2",
        ".txt ×1",
        "file without an ending ×1",
    ):
        assert said in data.note


def test_links_to_files_are_read_and_links_between_classes_are_not(tmp_path):
    fill(tmp_path / "set", 5)
    Image.new("L", (6, 5), 250).save(tmp_path / "one.png")
    (tmp_path / "set" / "cat" / "000.png").unlink()
    (tmp_path / "set" / "cat" / "000.png").symlink_to(tmp_path / "one.png")
    (tmp_path / "set" / "cat2").symlink_to(tmp_path / "set" / "cat")
    (tmp_path / "set" / "all").symlink_to(tmp_path / "set")
    data = load(DataConfig("folder", tmp_path / "set"))
    assert data.class_names == ("cat", "dog")
    assert data.train.images.max() == 250
    assert "link to a folder ×2" in data.note


def test_images_beside_the_class_folders_are_counted(tmp_path):
    fill(tmp_path, 5)
    Image.new("L", (6, 5)).save(tmp_path / "stray.png")
    assert "image beside the folders ×1" in load(DataConfig("folder", tmp_path)).note


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(InputError, match=r"folder .* cannot be read \(Permission denied\)"):
        image_files(tmp_path)


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines", b"\x1b[31mred"])
def test_names_that_are_not_text_are_escaped_wherever_they_are_said(name, tmp_path):
    strange = os.fsdecode(name)
    root = fill(tmp_path / strange, 5, classes=("cat", strange))
    (root / strange / "001.png").rename(root / strange / f"{strange}.png")
    found = load(DataConfig("folder", root))
    assert len(set(found.class_names)) == 2
    for text in (*found.class_names, found.note, found.describe_classes(), repr(found)):
        assert text.encode().decode() == text
        assert text.isprintable()
        json.dumps(text)
    again = load(DataConfig("folder", root), progress=lambda *said: pytest.fail(f"decoded again: {said}"))
    np.testing.assert_array_equal(again.train.images, found.train.images)
    (root / strange / f"{strange}.png").write_text("no image")
    with pytest.raises(InputError) as error:
        load(DataConfig("folder", root))
    assert str(error.value).isprintable()
    with pytest.raises(InputError) as error:
        data.load_image(root / strange / f"{strange}.png")
    assert str(error.value).isprintable()


def test_two_names_that_are_not_text_stay_two_classes(tmp_path):
    fill(tmp_path, 5, classes=(os.fsdecode(b"\xe9"), os.fsdecode(b"\xe8")))
    assert len(set(load(DataConfig("folder", tmp_path)).class_names)) == 2
