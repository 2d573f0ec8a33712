"""Each bad input: one clear line, status 2, before any long work, and nothing left behind."""

import dataclasses
import re
import shutil
import subprocess
import sys

import filelock
import numpy as np
import pytest
from PIL import Image

from cnnjax.runs import cli
from experiments import augmentation
from tests.experiments.conftest import TINY, TINY_FLAGS

ONE_CELL = dataclasses.replace(
    TINY, augmentations=("none",), protocol=dataclasses.replace(TINY.protocol, orbits=("shift_crop",))
)

pytestmark = pytest.mark.usefixtures("without_type_checks")


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run the command with more flags and return the error it printed."""

    def call(*flags, out=tmp_path / "run", base=TINY_FLAGS):
        monkeypatch.setattr(sys, "argv", ["augmentation", *base, "--out", str(out), *map(str, flags)])
        monkeypatch.setattr("cnnjax.sweep.cell.train_together", None)  # long work would fail loudly
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main(augmentation.Config, augmentation.run, prog="augmentation")
        assert stopped.value.code == 2
        return re.sub(r"\s+", " ", capsys.readouterr().err)

    yield call
    assert not (tmp_path / "run").exists()


def folder_of(path, names, size=8):
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size), np.uint8)).save(path / name)
    return path


def test_an_unknown_dataset(refused, tmp_path):
    assert "digit" in (message := refused("--data.name", "digist", "--data.data-dir", tmp_path)), message
    assert "digist" in message


def test_a_dataset_that_is_not_prepared(refused, tmp_path):
    message = refused("--data.name", "fashion_mnist", "--data.data-dir", tmp_path)
    assert "fashion_mnist" in message
    assert "download_and_prepare" in message
    assert "prepare" in message
    assert "TensorFlow" in message


def test_folders(refused, tmp_path):
    base = TINY_FLAGS[4:]  # all images
    message = refused("--data.name", "folder", base=base)
    assert "data_dir" in message
    empty = tmp_path / "empty"
    (empty / "a").mkdir(parents=True)
    (empty / "b").mkdir()
    assert str(empty) in refused("--data.name", "folder", "--data.data-dir", empty, base=base)
    one = folder_of(tmp_path / "one", [f"cat/{i}.png" for i in range(6)])
    assert "cat" in refused("--data.name", "folder", "--data.data-dir", one, base=base)
    torn = folder_of(tmp_path / "torn", [f"{c}/{i}.png" for c in ("a", "b") for i in range(6)])
    (torn / "b" / "3.png").write_bytes((torn / "b" / "3.png").read_bytes()[:60])
    assert "3.png" in refused("--data.name", "folder", "--data.data-dir", torn, base=base)
    mixed = folder_of(tmp_path / "mixed", [f"{c}/{i}.png" for c in ("a", "b") for i in range(6)])
    folder_of(mixed, ["a/9.png"], size=10)
    assert "size" in refused("--data.name", "folder", "--data.data-dir", mixed, base=base)


def test_a_canvas_smaller_than_the_image_and_its_shift(refused):
    message = refused("--data.canvas", 24, "--protocol.max-shift", 4)
    assert "24" in message
    assert "28" in message


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (
            ("--network.widths", "4", "8", "--network.padding", "valid", "--network.depth", "9"),
            ("layer stage2_conv", "all_conv", "32×32"),
        ),
        (("--network.widths", "4", "4", "4", "4", "4", "4", "4", "--network.padding", "valid"), ("layer stage",)),
        (("--network.name", "resnet", "--network.widths", "8", "4"), ("widths=(8, 4) must not fall",)),
        (("--train.batch-size", "61"), ("train.batch_size=61", "60 images")),
        (("--train.epochs", "0"), ("train.epochs=0",)),
        (("--seeds", "0"), ("seeds=0",)),
        (("--protocol.rotation-step", "50"), ("rotation step 50",)),
        (("--protocol.max-shift", "0"), ("max_shift=0",)),
        (
            (
                *("--protocol.max-shift", "14", "--data.size", "8", "--data.canvas", "36"),
                *("--network.padding", "valid", "--network.depth", "2"),
            ),
            ("shift_crop", "8×8", "layer "),
        ),
        (("--protocol.images", "0"), ("protocol.images=0",)),
        (("--augmentations", "none", "none"), ("none",)),
        (("--network.name", "mlp", "--network.depth", "3"), ("network.depth", "mlp")),
        (("--network.widths", "0"), ("widths=(0,)",)),
        (("--crop", "-1"), ("crop=-1",)),
        (("--flip", "2"), ("flip=2",)),
    ],
)
def test_settings_that_cannot_be(refused, flags, parts):
    message = refused(*flags)
    for part in parts:
        assert part in message


def test_an_output_directory_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refused(out=tmp_path / "file" / "run")


def test_a_refused_command_leaves_an_empty_directory_empty(refused, tmp_path):
    (tmp_path / "mine").mkdir()
    refused("--seeds", "0", out=tmp_path / "mine")
    refused("--data.name", "nope", "--data.data-dir", str(tmp_path), out=tmp_path / "mine")
    assert not list((tmp_path / "mine").iterdir())


def test_misspelt_flags_and_choices_get_a_suggestion(refused):
    assert "--seeds" in refused("--seed", "3")
    message = refused("--network.downsample", "strid")
    assert "stride" in message
    assert "average" in message


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of one cell."""
    return augmentation.run(dataclasses.replace(ONE_CELL, out=tmp_path_factory.mktemp("finished") / "run"))


@pytest.fixture
def begun(finished, tmp_path):
    """The finished run in `tmp_path / "begun"`."""
    return shutil.copytree(finished, tmp_path / "begun")


def test_directories_that_are_in_the_way(refused, begun):
    same = ("--augmentations", "none", "--protocol.orbits", "shift_crop")
    message = refused(*same, "--train.learning-rate", "0.2", out=begun)
    assert "train.learning_rate" in message
    assert "0.1" in message
    assert "0.2" in message
    assert "data." not in message

    with filelock.FileLock(begun / ".lock"):
        code = f"import filelock; filelock.FileLock({str(begun / '.lock')!r}).acquire(timeout=0)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode != 0
        assert "another process" in refused(*same, out=begun)

    config = (begun / "config.json").read_bytes()
    (begun / "config.json").write_bytes(config[:-30])
    assert "config.json" in refused(*same, out=begun)
    assert (begun / "config.json").read_bytes() == config[:-30]


def test_a_torn_line_of_metrics_is_dropped_with_a_warning(begun):
    whole = (begun / "metrics.jsonl").read_bytes()
    (begun / "metrics.jsonl").write_bytes(whole + b'{"cell": "augmentation=no')
    with pytest.warns(UserWarning, match="torn"):
        augmentation.run(dataclasses.replace(ONE_CELL, out=begun))
    assert (begun / "metrics.jsonl").read_bytes() == whole


def test_help_reads_well(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["augmentation", "--help"])
    with pytest.raises(SystemExit) as stopped:
        cli.main(augmentation.Config, augmentation.run, prog="augmentation")
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for part in ("How invariant to translation", "--data.name", "Networks in each cell", "default: 5", "{none,crop"):
        assert part in text
