"""Prepared tensorflow-datasets: read right, and every way in which they can be absent or unfit has its message."""

import importlib.util
import shutil
import sys

import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.data import DataConfig, load
from cnnjax.data.sources.source import mixed_order
from tests.data.tiny_tfds import encode, examples, prepare

needs_tfds = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("tensorflow_datasets", "array_record")),
    reason="tensorflow-datasets or array-record is not installed",
)


def refused(name, folder, *fragments, **options):
    with pytest.raises(InputError) as error:
        load(DataConfig(name, folder, **options))
    for fragment in fragments:
        assert fragment in str(error.value)


@needs_tfds
def test_pixels_labels_and_order_are_what_was_written(tmp_path):
    train, train_pixels = examples(7)
    test, test_pixels = examples(4, seed=1)
    data = load(DataConfig("tiny", prepare(tmp_path, {"train": train, "test": test})))
    np.testing.assert_array_equal(data.train.images[..., 0], train_pixels[mixed_order(7)])
    np.testing.assert_array_equal(data.train.labels, mixed_order(7) % 3)
    np.testing.assert_array_equal(data.test.images[..., 0], test_pixels[mixed_order(4)])
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int32
    assert data.margin == 0
    assert data.class_names == ("0", "1", "2")
    assert "7 images to train, 4 to test (splits train and test)" in data.note


@needs_tfds
def test_progress_is_told(tmp_path):
    calls = []
    folder = prepare(tmp_path, {"train": examples(5)[0], "test": examples(2)[0]})
    load(DataConfig("tiny", folder), progress=lambda *call: calls.append(call))
    assert calls == [(5, 5, "decoding tiny train"), (2, 2, "decoding tiny test")]


@needs_tfds
def test_the_second_load_decodes_nothing(tmp_path):
    calls = []
    folder = prepare(tmp_path, {"train": examples(5)[0], "test": examples(2)[0]})
    first = load(DataConfig("tiny", folder))
    again = load(DataConfig("tiny", folder, canvas=12), progress=lambda *call: calls.append(call))
    assert calls == []
    assert again.margin == 3
    np.testing.assert_array_equal(again.train.images[:, 3:9, 3:8], first.train.images)


@needs_tfds
def test_a_replaced_file_is_decoded_anew(tmp_path):
    folder = tmp_path / "data"
    load(DataConfig("tiny", prepare(folder, {"train": examples(5, seed=3)[0], "test": examples(2)[0]})))
    shutil.rmtree(folder)
    train, pixels = examples(5)
    data = load(DataConfig("tiny", prepare(folder, {"train": train, "test": examples(2)[0]})))
    np.testing.assert_array_equal(data.train.images[..., 0], pixels[mixed_order(5)])


@needs_tfds
def test_without_a_test_split_every_fifth_record_is_for_test(tmp_path):
    train, pixels = examples(10)
    data = load(DataConfig("tiny", prepare(tmp_path, {"train": train})))
    assert len(data.train.images) == 8
    assert {image.tobytes() for image in data.test.images} == {pixels[4].tobytes(), pixels[9].tobytes()}
    assert "every 5th record of the split train is for test" in data.note


@needs_tfds
def test_validation_stands_in_for_a_test_split_without_labels(tmp_path):
    unlabelled = [(image, -1) for image, _ in examples(3)[0]]
    validation, pixels = examples(4, seed=5)
    folder = prepare(tmp_path, {"train": examples(5)[0], "validation": validation, "test": unlabelled})
    data = load(DataConfig("tiny", folder))
    np.testing.assert_array_equal(data.test.images[..., 0], pixels[mixed_order(4)])
    assert "splits train and validation" in data.note


@needs_tfds
def test_images_of_no_declared_size_are_resized_to_one(tmp_path):
    train = [(encode(np.full((4 + i, 6, 3), 40 * i, np.uint8)), i % 3) for i in range(6)]
    folder = prepare(tmp_path, {"train": train, "test": train}, shape=(None, None, 3))
    refused("tiny", folder, '"tiny" declares no common size', "give data.size")
    data = load(DataConfig("tiny", folder, size=8))
    assert data.train.images.shape == (6, 8, 8, 3)
    np.testing.assert_array_equal(data.train.images[:, 0, 0, 0], 40 * mixed_order(6))


@needs_tfds
def test_a_damaged_image_is_named(tmp_path):
    train = examples(3)[0]
    train[1] = (train[1][0][:30], 1)
    folder = prepare(tmp_path, {"train": train, "test": train[:1]})
    refused("tiny", folder, "the image 1 of tiny train cannot be read", "mend or remove it")


@needs_tfds
def test_the_newest_version_is_read_and_another_can_be_named(tmp_path):
    for version, value in (("1.0.0", 1), ("2.0.0", 2), ("10.0.0", 3)):
        same = [(encode(np.full((6, 5), value, np.uint8)), 0)]
        made = prepare(tmp_path / version, {"train": same, "test": same}) / "tiny" / "1.0.0"
        (tmp_path / "tiny").mkdir(exist_ok=True)
        made.rename(tmp_path / "tiny" / version)
    assert load(DataConfig("tiny", tmp_path)).train.images.max() == 3
    assert load(DataConfig("tiny:2.0.0", tmp_path)).train.images.max() == 2
    refused("tiny:3.0.0", tmp_path, '"tiny:3.0.0" is not among the prepared versions', "1.0.0, 10.0.0, 2.0.0")


@needs_tfds
def test_a_configuration_must_be_named(tmp_path):
    folder = prepare(tmp_path, {"train": examples(3)[0], "test": examples(3)[0]}, name="tiny/small")
    refused("tiny", folder, "prepared in several configurations", "name one: tiny/small")
    assert len(load(DataConfig("tiny/small", folder)).train.images) == 3


@needs_tfds
@pytest.mark.parametrize(
    "unfit", [{"supervised": None}, {"label_class": "tensor_feature.Tensor"}], ids=["unsupervised", "no class label"]
)
def test_what_is_no_image_classification_is_refused(unfit, tmp_path):
    folder = prepare(tmp_path, {"train": examples(3)[0], "test": examples(3)[0]}, **unfit)
    refused("tiny", folder, '"tiny" is not an image classification dataset')


@needs_tfds
def test_images_of_another_type_are_refused(tmp_path):
    folder = prepare(tmp_path, {"train": examples(3)[0], "test": examples(3)[0]}, dtype="uint16")
    refused("tiny", folder, "holds images of uint16; only uint8")


@needs_tfds
def test_a_dataset_without_training_images_is_refused(tmp_path):
    refused("tiny", prepare(tmp_path, {"test": examples(3)[0]}), 'has no split "train" (it has test)')


@needs_tfds
def test_files_that_need_tensorflow_are_refused_with_the_remedy(tmp_path):
    folder = prepare(tmp_path, {"train": examples(3)[0]}, file_format="tfrecord")
    refused("tiny", folder, "cannot be read without TensorFlow", "file_format='array_record'")


@needs_tfds
def test_absent_data_says_the_commands_that_prepare_it(tmp_path):
    refused(
        "mnist",
        tmp_path,
        f'"mnist" is not prepared in {tmp_path}',
        "needs TensorFlow",
        'python -m pip install "cnnjax[prepare]"',
        'python -m pip install -e ".[prepare]"',
        f"tfds.builder('mnist', data_dir='{tmp_path}', file_format='array_record').download_and_prepare()",
    )


@needs_tfds
@pytest.mark.parametrize(("name", "meant"), [("mnst", "mnist"), ("digit", "digits"), ("CIFAR10", "cifar10")])
def test_an_unknown_name_gets_suggestions(name, meant, tmp_path):
    refused(
        name,
        tmp_path,
        f'unknown dataset "{name}"; perhaps you meant {meant}',
        "digits, shapes, coloured_shapes, textured_shapes, folder",
    )


@needs_tfds
def test_suggestions_include_what_lies_in_data_dir(tmp_path):
    folder = prepare(tmp_path, {"train": examples(3)[0]}, name="herbarium_sheets")
    refused("herbarium_sheet", folder, "perhaps you meant herbarium_sheets", f"herbarium_sheets lie in {tmp_path}")


def test_a_path_is_no_name(tmp_path):
    refused("../mnist", tmp_path, 'unknown dataset "../mnist"')


@needs_tfds
def test_data_dir_defaults_to_the_one_of_tensorflow_datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepare(tmp_path, {"train": examples(3)[0], "test": examples(3)[0]})))
    assert len(load(DataConfig("tiny")).train.images) == 3


@pytest.mark.parametrize("module", ["tensorflow_datasets", "array_record"])
def test_a_missing_package_is_named_with_its_remedy(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    refused("digit", tmp_path, f"needs the package {module}", 'pip install "cnnjax[tfds]"', "perhaps you meant digits")


@needs_tfds
@pytest.mark.parametrize(("name", "shape", "canvas"), [("mnist", (28, 28, 1), 36), ("cifar10", (32, 32, 3), None)])
def test_real_images_are_those_of_tensorflow_datasets_own_decoder(name, shape, canvas, real_data):
    if not (real_data / name).is_dir():
        pytest.skip(f"{name} is not in {real_data}")
    import tensorflow_datasets as tfds

    data = load(DataConfig(name, real_data, train_images=300, test_images=100), max_shift=4 if canvas else 0)
    stored = tfds.data_source(name, split="test", data_dir=real_data, download=False)
    expected = stored.__getitems__(mixed_order(len(stored))[:100].tolist())
    inner = data.test.images[:, 4:-4, 4:-4] if canvas else data.test.images
    np.testing.assert_array_equal(inner, np.stack([example["image"] for example in expected]))
    np.testing.assert_array_equal(data.test.labels, [example["label"] for example in expected])
    assert inner.shape[1:] == shape
    assert data.margin == (4 if canvas else 0)
    assert np.bincount(data.train.labels, minlength=10).min() > 10
    if canvas:
        with pytest.raises(
            InputError, match="canvas of 36 pixels is too small for images of 28 pixels shifted by up to 5"
        ):
            load(DataConfig(name, real_data), max_shift=5)
