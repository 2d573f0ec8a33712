"""Which folders are taken for splits and which for classes, over the layouts that people have."""

import pytest
from PIL import Image

from cnnjax import InputError
from cnnjax.data import DataConfig, load


def make(root, *folders, count=5):
    """Write `count` images into each folder below `root`."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.new("L", (4, 4), i).save(root / folder / f"{i}.png")
    return root


def of(*folders, classes=("cat", "dog")):
    return [f"{folder}/{name}" for folder in folders for name in classes]


def loaded(root):
    return load(DataConfig("folder", root))


def refused(root, message):
    with pytest.raises(InputError, match=message):
        loaded(root)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "val"),
        ("Train", "VAL"),
        ("training", "validation"),
        ("TRAINING", "Validation"),
        ("train", "valid"),
        ("train", "dev"),
        ("train", "eval"),
        ("train", "evaluation"),
        ("train", "test"),
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("trainset", "testset"),
        ("train2017", "val2017"),
        ("seg_train", "seg_test"),
        ("ILSVRC2012_img_train", "ILSVRC2012_img_val"),
    ],
)
def test_usual_names_of_splits_are_known(train, test, tmp_path):
    make(tmp_path, *of(train), count=3)
    make(tmp_path, *of(test), count=2)
    data = loaded(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert (len(data.train.images), len(data.test.images)) == (6, 4)
    assert f"its own {train} and {test} folders" in data.note


def test_of_three_splits_test_is_for_test_and_the_note_says_what_is_not_used(tmp_path):
    make(tmp_path, *of("train"), count=3)
    make(tmp_path, *of("val"), count=2)
    make(tmp_path, *of("test"), count=1)
    data = loaded(tmp_path)
    assert (len(data.train.images), len(data.test.images)) == (6, 2)
    assert "its own train and test folders; val is not used" in data.note


def test_a_test_folder_without_classes_gives_way_to_val(tmp_path):
    make(tmp_path, *of("train"), "test", count=3)
    make(tmp_path, *of("val"), count=2)
    data = loaded(tmp_path)
    assert len(data.test.images) == 4
    assert "its own train and val folders; test is not used: it has no folders of classes" in data.note


def test_train_alone_is_split(tmp_path):
    data = loaded(make(tmp_path, *of("train")))
    assert data.class_names == ("cat", "dog")
    assert (len(data.train.images), len(data.test.images)) == (8, 2)
    assert "every 5th file of each class in name order of its folder train is for test" in data.note


def test_other_folders_beside_splits_are_left_out_and_said(tmp_path):
    data = loaded(make(tmp_path, *of("train", "val"), "samples"))
    assert data.class_names == ("cat", "dog")
    assert "folder samples ×1" in data.note


def test_class_folders_that_are_links_are_followed_in_splits(tmp_path):
    make(tmp_path / "store", "a", "b")
    for split in ("train", "val"):
        (tmp_path / "set" / split).mkdir(parents=True)
        for name, to in (("cat", "a"), ("dog", "b")):
            (tmp_path / "set" / split / name).symlink_to(tmp_path / "store" / to)
    data = loaded(tmp_path / "set")
    assert data.class_names == ("cat", "dog")
    assert len(data.train.images) == 10


@pytest.mark.parametrize("name", ["train", "test", "Training"])
def test_a_class_may_have_the_name_of_a_split(name, tmp_path):
    data = loaded(make(tmp_path, name, "car", "bus"))
    assert set(data.class_names) == {name, "car", "bus"}


@pytest.mark.parametrize(
    "folders",
    [
        ("cat/persian", "cat/siamese", "dog/poodle", "dog/beagle"),
        ("cat/images", "dog/images", "emu/images"),
        ("cat", "dog/poodle", "dog/beagle"),
        ("cat/young", "cat/old", "dog/young", "dog/large"),
    ],
    ids=str,
)
def test_folders_inside_classes_belong_to_them(folders, tmp_path):
    data = loaded(make(tmp_path, *folders))
    assert set(data.class_names) == {folder.split("/")[0] for folder in folders}
    assert len(data.train.images) + len(data.test.images) == 5 * len(folders)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train", "val"), "train has no images in class folders"),
        (of("val"), r"no folder train beside val; add one .* data.data_dir .*val to have its images split"),
        (of("val", "test"), "no folder train beside test, val"),
        (of("train", "Train", "val"), "several folders for train: Train, train; leave one"),
        (of("train", "val", "valid"), "several folders for validation: val, valid"),
        (
            of("fold1", "fold2", "fold3"),
            r"fold1, fold2, fold3 .* hold no image themselves but the same folders \(cat, dog",
        ),
        ((*of("part1"), *of("part2"), "part1/emu"), "part1, part2 .* look like splits, not classes"),
        ((*of("val"), "cat", "dog"), "has val, by name a split, beside cat, dog"),
        ((*of("train"), *of("more")), "has train, by name a split, beside more"),
        (("train", "val", "annotations"), "has train, val, by name a split, beside annotations"),
        (of("animals"), r"one class only \(animals\).* if its folders are the classes, give data.data_dir .*animals"),
        ((*of("train"), "val/emu"), "val has classes that .*train has not: emu"),
    ],
    ids=str,
)
def test_what_cannot_be_told_is_refused(folders, message, tmp_path):
    refused(make(tmp_path, *folders), message)
