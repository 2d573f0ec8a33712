"""The jigsaw commands end to end on a small image file, and what they refuse."""

import json
import sys

import jax
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnnjax import jigsaw as puzzles
from cnnjax.runs import cli
from experiments import jigsaw, jigsaw_learned
from experiments.benchmarks import jigsaw as benchmark
from experiments.jigsaw_learned.border_network import BorderNetwork, Learned


@pytest.fixture
def photo(tmp_path):
    """Waves that repeat nowhere, 42×51 pixels."""
    y, x = np.mgrid[:42, :51] / 10
    channels = [np.sin(x + 0.3 * y), np.cos(0.7 * x - y), np.sin(0.05 * x * y + 0.4 * x)]
    path = tmp_path / "photo.png"
    Image.fromarray(np.uint8(255 * (0.5 + 0.4 * np.stack(channels, axis=-1)))).save(path)
    return path


def command(monkeypatch, module, *flags):
    monkeypatch.setattr(sys, "argv", ["jigsaw", *map(str, flags)])
    cli.main(module.Config, module.run, prog="jigsaw")


def test_a_file_end_to_end(photo, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    command(monkeypatch, jigsaw, "--image", photo, "--piece", 8, "--patience", 1, "--out", out)
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == str(out)
    assert "cropped: 2 rows at the bottom, 3 columns at the right" in printed.err
    assert "No structure" not in printed.out
    result = json.loads((out / "result.json").read_text())
    assert (result["pieces"], result["direct"], result["perfect"], result["twins"]) == (30, 1, True, 0)
    np.testing.assert_allclose(result["objective"], result["objective_of_truth"])
    assert "| objective of the truth" in (out / "table.md").read_text()
    with Image.open(out / "figures" / "before_and_after.png") as figure:
        assert len(figure.getcolors(figure.width * figure.height)) > 100  # type: ignore[arg-type]


def test_shuffled_pixels_show_no_structure(photo, tmp_path, monkeypatch, capsys):
    flags = ("--image", photo, "--piece", 8, "--patience", 1, "--shuffle-pixels", "--out", tmp_path / "run")
    command(monkeypatch, jigsaw, *flags)
    assert "No structure seen" in " ".join(capsys.readouterr().out.split())
    assert json.loads((tmp_path / "run" / "result.json").read_text())["structure"] is False


def test_the_benchmark_goes_on_where_it_was(photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "_MANY", 30)
    config = benchmark.Config(images=(str(photo),), piece=8, seeds=1, types=(1,), out=tmp_path / "run")
    benchmark.run(config)
    first = (tmp_path / "run" / "table.md").read_text()
    assert "finished earlier" not in capsys.readouterr().err
    row = pd.read_csv(tmp_path / "run" / "summary.csv").iloc[0]
    assert (row["direct"], row["neighbour"], row["pieces"]) == (1, 1, 30)
    benchmark.run(config)
    assert "photo-type1-seed0: finished earlier" in capsys.readouterr().err
    assert (tmp_path / "run" / "table.md").read_text() == first


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--image", "nothing.jpg"), "nothing.jpg is no image file"),
        (("--image", __file__), "cannot be read"),
        (("--piece", "3"), "pieces of 3 pixels are too small"),
        (("--piece", "40"), "hold 1 pieces of 40×40, and a puzzle needs four: give a side of 21 or less"),
        (("--patience", "-1"), "patience=-1 must be at least 0"),
    ],
)
def test_bad_input_is_one_line(photo, tmp_path, monkeypatch, capsys, flags, message):
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, jigsaw, "--image", photo, "--out", tmp_path / "run", *flags)
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert message in error
    assert "\n" not in error
    assert not (tmp_path / "run").exists()


def test_other_files_are_not_written_over(photo, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "table.md").write_text("precious")
    with pytest.raises(SystemExit, match="2"):
        command(monkeypatch, jigsaw, "--image", photo, "--piece", 8, "--out", tmp_path / "mine")
    assert "is not a run; name a new or empty directory" in capsys.readouterr().err
    assert (tmp_path / "mine" / "table.md").read_text() == "precious"


@jax.numpy_dtype_promotion("standard")  # optax itself raises a float to an integer power
def test_a_network_learns_which_borders_fit(photo, tmp_path):
    other = tmp_path / "other.png"
    with Image.open(photo) as image:
        image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(other)
    halves = {"one_half": (str(photo),), "other_half": (str(other),)}
    jigsaw_learned.run(jigsaw_learned.Config(**halves, piece=8, steps=60, seeds=1, out=tmp_path / "run"))
    result = json.loads((tmp_path / "run" / "cells" / "tested-half1-seed0" / "result.json").read_text())["value"]
    assert result[str(other)] > 0.3  # by chance 1/30
    assert "| all " in (tmp_path / "run" / "table.md").read_text()


@pytest.mark.slow
def test_each_network_has_its_own_costs():
    pieces = jax.numpy.asarray(np.random.default_rng(0).random((4, 8, 8, 3), np.float32))
    init = jax.jit(BorderNetwork().init)
    tables = []
    for seed in (1, 2):
        params = init(jax.random.key(seed, impl="rbg"), np.zeros((4, 8, 9), np.float32))
        network = Learned(params)
        tables.append(puzzles.fits(pieces, network).right)
        value = network(puzzles.facing_right(pieces, 0), puzzles.facing_left(pieces, 0))
        np.testing.assert_allclose(tables[-1][0, 1:], value[0, 1:], rtol=1e-4)
    assert not np.allclose(*tables)
