"""Images decoded in each epoch: those of memory, at any place, in any number of workers and processes."""

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from cnnjax import InputError
from cnnjax.data import DataConfig, StoredImages, blocks, dataset, epoch_order, load, streamed_batches
from cnnjax.data.framing import draws_of, part_of
from tests.data.photographs import photographs
from tests.data.tiny_tfds import examples, prepare
from tests.repeats import repeated

pytestmark = pytest.mark.skipif(importlib.util.find_spec("grain") is None, reason="grain is not installed")

KEYS = jax.random.split(jax.random.key(5), 2)


@pytest.fixture
def config(tmp_path):
    return DataConfig("folder", photographs(tmp_path / "data", 15), size=12, memory=0.0, workers=0)


def parts(config):
    """The dataset whose training images are seen in random parts."""
    return load(dataclasses.replace(config, crop_area=0.08), stream=True)


def streamed(data, stop=7, **options):
    """All steps, with batches of 8 of 24 images."""
    return list(streamed_batches(KEYS, data.train.images, data.train.labels, batch_size=8, stop=stop, **options))


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("options", [{}, {"canvas": 16}, {"fit": "center"}], ids=["cover", "canvas", "center"])
def test_a_stored_dataset_is_the_one_in_memory(config, options):
    config = dataclasses.replace(config, **options)
    memory = load(dataclasses.replace(config, memory=None))
    stored = load(config, stream=True)
    assert isinstance(stored.train.images, StoredImages)
    assert stored.train.images.shape == memory.train.images.shape
    assert (stored.mean, stored.std, stored.margin) == (memory.mean, memory.std, memory.margin)
    assert stored.note.startswith(memory.note.partition(";")[0])
    for split in ("train", "test"):
        one, other = getattr(stored, split), getattr(memory, split)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.images[:], other.images)
        np.testing.assert_array_equal(np.concatenate(list(blocks(one.images))), other.images)
    np.testing.assert_array_equal(stored.train.images[3], memory.train.images[3])
    np.testing.assert_array_equal(stored.train.images[np.array([5, 2])], memory.train.images[[5, 2]])
    assert list(map(len, blocks(memory.test.images))) == [6]


def test_streamed_batches_are_those_of_memory_in_the_order_of_each_epoch(config):
    memory = load(dataclasses.replace(config, memory=None)).train
    found = streamed(load(config, stream=True))
    for step, (pixels, labels) in enumerate(found):
        for i, key in enumerate(KEYS):
            order = np.asarray(epoch_order(key, step // 3, 24))[8 * (step % 3) :][:8]
            np.testing.assert_array_equal(pixels[i], memory.images[order])
            np.testing.assert_array_equal(labels[i], memory.labels[order])


@pytest.mark.skipif(importlib.util.find_spec("tensorflow_datasets") is None, reason="no tensorflow-datasets")
def test_records_are_streamed_as_they_are_in_memory(tmp_path):
    folder = prepare(tmp_path / "data", {"train": examples(10)[0], "test": examples(4)[0]})
    memory = load(DataConfig("tiny", folder)).train
    stored = load(DataConfig("tiny", folder, memory=0.0, workers=0), stream=True).train
    np.testing.assert_array_equal(stored.labels, memory.labels)
    found = list(streamed_batches(KEYS[:1], stored.images, stored.labels, batch_size=10, stop=1))
    np.testing.assert_array_equal(found[0][0][0], memory.images[np.asarray(epoch_order(KEYS[0], 0, 10))])


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_real_records_are_streamed_as_they_are_in_memory(real_data, name):
    if not (real_data / name).is_dir():
        pytest.skip(f"{name} is not in {real_data}")
    config = DataConfig(name, real_data, train_images=100, test_images=10)
    memory, stored = load(config).train, load(dataclasses.replace(config, memory=0.0, workers=0), stream=True).train
    found = list(streamed_batches(KEYS[:1], stored.images, stored.labels, batch_size=50, stop=3))
    for step, (pixels, labels) in enumerate(found):
        order = np.asarray(epoch_order(KEYS[0], step // 2, 100))[50 * (step % 2) :][:50]
        np.testing.assert_array_equal(pixels[0], memory.images[order])
        np.testing.assert_array_equal(labels[0], memory.labels[order])


def test_each_random_part_follows_from_key_epoch_and_place(config):
    data = parts(dataclasses.replace(config, fit="stretch"))
    files, key = sorted(Path(config.data_dir).rglob("*.png")), np.asarray(jax.random.key_data(KEYS[1]))
    whole = {file: np.asarray(Image.open(file).resize((12, 12), Image.Resampling.BICUBIC)).tobytes() for file in files}
    of_file = {pixels: file for file, pixels in whole.items()}
    for step, (pixels, _) in enumerate(streamed(data)):
        epoch, place = step // 3, 8 * (step % 3)
        order = np.asarray(epoch_order(KEYS[1], epoch, 24))[place:][:8]
        for i, image in enumerate(data.train.images[order]):
            picture = Image.open(of_file[image.tobytes()])
            left, top, w, h = part_of(draws_of(*map(int, key), epoch, place + i), *picture.size, least=0.08)
            seen = picture.crop((left, top, left + w, top + h)).resize((12, 12), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(pixels[1, i], np.asarray(seen))


@pytest.mark.parametrize("workers", repeated([2, 1, 3]))
def test_workers_change_nothing(config, workers):
    alone = streamed(parts(config))
    assert_same(streamed(parts(dataclasses.replace(config, workers=workers))), alone)


def test_a_stream_goes_on_at_the_exact_image(config, monkeypatch):
    data = parts(config)
    whole = streamed(data)
    for start in (1, 3, 5):
        assert_same(streamed(data, start=start), whole[start:])
    monkeypatch.setattr("cnnjax.data.streaming.EPOCHS", 1)
    monkeypatch.setattr("cnnjax.data.streaming.PART", 3)
    assert_same(streamed(data, start=2), whole[2:])
    assert streamed(data, start=7) == []


@pytest.mark.parametrize("count", [2, 4])
def test_the_rows_of_all_processes_are_the_batch_of_one(config, count):
    data = parts(config)
    each = [streamed(data, process_index=index, process_count=count) for index in range(count)]
    joined = [
        tuple(np.concatenate(rows, axis=1) for rows in zip(*step, strict=True)) for step in zip(*each, strict=True)
    ]
    assert_same(joined, streamed(data))


def test_statistics_of_many_images_are_of_a_sample_and_said_to_be(config, monkeypatch):
    monkeypatch.setattr(dataset, "SAMPLE", 5)
    data = load(config, stream=True)
    sample = data.train.images[:5] / 255
    np.testing.assert_allclose(data.mean, sample.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(data.std, sample.std((0, 1, 2)), rtol=1e-6)
    assert "mean and deviation of pixels from 5 of them" in data.note


def test_what_exceeds_memory_is_refused_where_it_has_to_be_in_it(config):
    with pytest.raises(
        InputError, match=r"30 images of 12×12 pixels take 1\.3e-05 GB, and data\.memory is 0.*raise it"
    ):
        load(config)
    with pytest.raises(InputError, match=r"data\.crop_area is 0\.5, so images are decoded in each epoch.*leave it out"):
        load(dataclasses.replace(config, memory=None, crop_area=0.5))
    stored = load(config, stream=True).train
    with pytest.raises(InputError, match=r"StoredImages\(24×12×12×3\) is decoded .* larger data\.memory"):
        _ = stored.array
    assert isinstance(load(dataclasses.replace(config, memory=1e-4), stream=True).train.images, np.ndarray)


@pytest.mark.parametrize("workers", repeated([0, 1], quick=1))
def test_a_damaged_image_is_named(config, workers):
    data = load(dataclasses.replace(config, workers=workers), stream=True)
    damaged = sorted(Path(config.data_dir, "cat").iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:60])
    with pytest.raises(InputError, match=f"the image {damaged} cannot be read"):
        streamed(data)


def test_a_stream_that_cannot_be_is_refused(config):
    train = load(config, stream=True).train
    for options, message in (
        (dict(batch_size=25), "batch_size=25 is larger than the 24 images"),
        (dict(batch_size=9, process_count=2), "batch_size=9 for process 0 of 2: give a multiple"),
        (dict(batch_size=8, process_count=2, process_index=2), "process 2 of 2"),
    ):
        with pytest.raises(InputError, match=message):
            streamed_batches(KEYS, train.images, train.labels, stop=1, **options)
    with pytest.raises(InputError, match="3 labels for 24 images"):
        streamed_batches(KEYS, train.images, train.labels[:3], batch_size=8, stop=1)


def test_a_missing_package_is_named_with_its_remedy(config, monkeypatch):
    train = load(config, stream=True).train
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(InputError, match=r'each epoch needs the package grain.*pip install "cnnjax\[stream\]"'):
        streamed_batches(KEYS, train.images, train.labels, batch_size=8, stop=1)


STREAM = """
import sys, jax
from cnnjax.data import DataConfig, load, streamed_batches
if __name__ == "__main__":
    train = load(DataConfig("folder", sys.argv[1], size=12, memory=0.0, workers=2), stream=True).train
    keys, size = jax.random.split(jax.random.key(0), 1), 8
    for _ in streamed_batches(keys, train.images, train.labels, batch_size=size, stop=10**6):
        print("step", flush=True)
"""


def children(pid):
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text().split()]


def alive(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize("who", ["program", "worker"])
def test_workers_and_their_program_end_together(config, tmp_path, who):
    script = tmp_path / "stream.py"
    script.write_text(STREAM)
    command = [sys.executable, str(script), str(config.data_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "step\n"
    workers = [pid for pid in children(process.pid) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(workers) == 2
    os.kill(process.pid if who == "program" else workers[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))
    if who == "worker":
        assert "InputError: a process that decodes images ended" in errors
