"""The parameters experiment end to end on two small networks, and what it refuses."""

import functools
import re
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnnjax import models
from cnnjax.runs import cli, read_config
from cnnjax.sweep.catalogue import CATALOGUE
from cnnjax.training import read_arrays
from experiments import parameters
from experiments.shared.large_numbers import short

SMALL = ("--models", "lenet5", "mlp", "--sides", "8", "16")


def command(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["parameters", *map(str, flags)])
    cli.main(parameters.Config, parameters.run, prog="parameters")


def test_two_networks_end_to_end(tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"
    command(monkeypatch, *SMALL, "--out", path)
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == str(path)
    assert re.search(r"lenet5 +28² +61\.7 k +417 k +6\.75 +32\.4 kB +16 +4", printed)
    assert re.search(r"mlp +32² +855 k +855 k +1\.00 +2\.09 kB +image +–", printed)
    assert read_config(path)["config"]["models"] == ["lenet5", "mlp"]

    summary = pd.read_csv(path / "summary.csv").set_index("network")
    lenet = 28**2 * 25 * 6 + 10**2 * 25 * 6 * 16 + 400 * 120 + 120 * 84 + 84 * 10
    assert list(summary.loc["lenet5", ["parameters", "multiply_adds", "receptive_field", "stride"]]) == [
        61_706,
        lenet,
        16,
        4,
    ]
    mlp = 32 * 32 * 3 * 256 + 256 * 256 + 256 * 10
    assert list(summary.loc["mlp", ["parameters", "multiply_adds"]]) == [mlp + 256 + 256 + 10, mlp]

    layers = pd.read_csv(path / "layers.csv")
    assert list(layers[layers["network"] == "lenet5"]["layer"]) == ["c1", "s2", "c3", "s4", "c5", "f6", "logits"]
    assert list(layers[layers["network"] == "lenet5"]["receptive_field"]) == [5, 6, 14, 16, 28, 28, 28]
    for column in ("parameters", "multiply_adds", "activation_bytes"):
        assert layers.groupby("network")[column].sum().to_dict() == summary[column].to_dict()

    growth = pd.read_csv(path / "growth.csv").set_index(["what", "side"])
    for n in (8, 16):
        assert list(growth.loc[("dense", n)]) == [n**2 * 3 * 64] * 2
        assert list(growth.loc[("dense_map", n)]) == [n**4 * 3 * 64] * 2
        assert list(growth.loc[("convolution", n)]) == [9 * 3 * 64, n**2 * 9 * 3 * 64]
        assert growth.loc[("all_cnn_c", n), "parameters"] == 1_369_738
        assert growth.loc[("mlp", n), "parameters"] == n**2 * 3 * 256 + 256 + 257 * 256 + 257 * 10

    assert "| lenet5 " in (path / "table.md").read_text()
    matrices, _ = read_arrays(path / "matrices.safetensors")
    counts = {name: len(set(weights[weights > 0])) for name, weights in matrices.items()}
    assert counts == {"dense": 25, "local": 13, "convolution": 3}
    for name in ("matrices", "networks", "growth"):
        with Image.open(path / "figures" / f"{name}.png") as figure:
            assert len(figure.getcolors(figure.width * figure.height)) > 100  # type: ignore[arg-type]


def test_the_matrices_are_those_of_the_layers():
    matrices = parameters.connections(6, 3)
    signal, weights = np.array([3.0, 1.0, -4.0, 1.0, 5.0, -9.0]), np.array([0.0, 2.0, -7.0, 1.0])
    padded = np.pad(signal, 1)
    sums = [weights[1:] @ padded[i : i + 3] for i in range(6)]  # written out, and as the matrix says
    np.testing.assert_array_equal(weights[matrices["convolution"]] @ signal, sums)
    own = np.arange(17.0)  # a weight for each of the 4 windows of 3 and the 2 of 2 at the borders
    expected, used = [], 1
    for i in range(6):
        pixels = [j for j in (i - 1, i, i + 1) if 0 <= j < 6]
        expected.append(own[used : used + len(pixels)] @ signal[pixels])
        used += len(pixels)
    np.testing.assert_array_equal(own[matrices["local"]] @ signal, expected)
    assert sorted(matrices["dense"].ravel()) == list(range(1, 37))


@pytest.mark.slow
def test_another_size(tmp_path):
    path = parameters.run(parameters.Config(models=("mlp",), size=16, sides=(8,), out=tmp_path / "run"))
    row = pd.read_csv(path / "summary.csv").iloc[0]
    assert (row["side"], row["parameters"]) == (16, 16 * 16 * 3 * 256 + 256 + 257 * 256 + 257 * 10)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--models", "resnet19"), "model='resnet19' is unknown; use one of"),
        (("--models", "mlp", "mlp"), "models has mlp more than once"),
        (("--models", "alexnet", "--size", "16"), "alexnet cannot take images of 16×16 pixels: layer "),
        (("--models", "mlp", "--size", "-1"), "size=-1 must be at least 0"),
        (("--models", "mlp", "--sides", "0"), "sides=(0,) must be from 1 to 8192"),
        (("--models", "mlp", "--window", "0"), "window=0 must be at least 1"),
        (("--models", "mlp", "--window", "7"), "window=7 must be at most signal=5"),
        (("--models", "mlp", "--signal", "13"), "that at most 12 for a legible picture"),
        (("--models", "mlp", "--kernel-size", "0"), "kernel_size=0 must be at least 1"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    with pytest.raises(SystemExit) as stopped:
        command(monkeypatch, *flags, "--out", tmp_path / "run")
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_the_catalogue_has_every_network():
    partials = {name for name in models.__all__ if isinstance(getattr(models, name), functools.partial)}
    assert set(CATALOGUE) == partials | {"alexnet", "lenet5", "mlp"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (6.75, "6.75"),
        (61_706, "61.7 k"),
        (10**6, "1.00 M"),
        (4_089_184_000, "4.09 G"),
    ],
)
def test_numbers_keep_three_digits(value, text):
    assert short(value) == text
