"""The alexnet experiment end to end at toy size: whole, interrupted and resumed, failed, and from every bad input."""

import dataclasses
import re
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from cnnjax import InputError
from cnnjax.data import DataConfig, load
from cnnjax.runs import cli
from cnnjax.sweep import cell
from cnnjax.training import TrainConfig, read_arrays
from experiments import alexnet

FLAGS = (
    *("--data.size", "16", "--data.train-images", "48", "--data.test-images", "24"),
    *("--widths", "8", "4", "4", "4", "4", "--kernel-sizes", "5", "3", "3", "3", "3", "--stem-stride", "1"),
    *("--dense-widths", "4", "4", "--train.epochs", "2", "--train.batch-size", "16", "--seeds", "2", "--splits", "99"),
    *("--kinds", "two_towers", "one_tower", "--regularizations", "none"),
)
TINY = alexnet.Config(
    data=DataConfig(name="coloured_shapes", size=16, train_images=48, test_images=24),
    kinds=("two_towers", "one_tower"),
    regularizations=("none",),
    widths=(8, 4, 4, 4, 4),
    kernel_sizes=(5, 3, 3, 3, 3),
    stem_stride=1,
    dense_widths=(4, 4),
    train=TrainConfig(epochs=2, batch_size=16),
    seeds=2,
    splits=99,
)
CELLS = (
    "network=two_towers,regularization=augmentation",
    "network=one_tower,regularization=augmentation",
    "network=two_towers,regularization=none",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return alexnet.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


def test_the_directory_tells_the_whole_story(whole):
    summary = pd.read_csv(whole / "summary.csv")
    rows = list(summary[["cell", "seed", "status"]].itertuples(index=False, name=None))
    assert rows == [(cell, seed, "ok") for cell in CELLS for seed in (0, 1)]
    labels = load(TINY.data).test.labels
    for name in CELLS:
        answers = read_arrays(whole / "cells" / name / "predictions.safetensors")[0]["test/classes"]
        expected = (answers == labels).mean(1)
        np.testing.assert_allclose(summary[summary["cell"] == name]["test.accuracy"], expected)
    table = (whole / "table.md").read_text()
    assert re.search(r"\| two_towers \| augmentation \| +chroma \| 0\.\d\d ± \d+\.\d\d \(n = 2\) \|", table)
    assert re.search(r"\| one_tower +\| augmentation \| +\d+\.\d ±", table)
    assert len(pd.read_csv(whole / "comparisons.csv")) == 2
    for name in ("filters", "values", "separation", "training"):
        with Image.open(whole / "figures" / f"{name}.png") as figure:
            assert len(figure.getcolors(figure.width * figure.height)) > 50  # type: ignore[arg-type]


@pytest.mark.slow
def test_from_another_first_seed_it_is_what_these_seeds_give(whole, tmp_path):
    few = dict(seeds=1, first_seed=1, kinds=("two_towers",), regularizations=(), out=tmp_path / "run")
    path = alexnet.run(dataclasses.replace(TINY, **few))
    for file in ("filters.csv", "summary.csv"):
        expected = pd.read_csv(whole / file).query("cell == @CELLS[0] and seed == 1").reset_index(drop=True)
        columns = [name for name in expected if "by_chance" not in name]  # of halves that are drawn for all seeds
        pd.testing.assert_frame_equal(pd.read_csv(path / file)[columns], expected[columns])


def test_filters_and_separations_are_those_of_the_stored_weights(whole):
    filters = pd.read_csv(whole / "filters.csv")
    summary = pd.read_csv(whole / "summary.csv").set_index(["cell", "seed"])
    assert len(filters) == len(CELLS) * 2 * 8
    for name in CELLS:
        kernels = read_arrays(whole / "cells" / name / "weights.safetensors")[0]["params/conv1/kernel"]
        for seed, kernel in enumerate(kernels.astype(np.float64)):
            mine = filters[(filters["cell"] == name) & (filters["seed"] == seed)]
            assert list(mine["tower"]) == [0] * 4 + [1] * 4
            grey = (kernel.sum(2) / np.sqrt(3)) ** 2
            chroma = 1 - grey.sum((0, 1)) / (kernel**2).sum((0, 1, 2))
            np.testing.assert_allclose(mine["chroma"], chroma, rtol=1e-4)
            statistic = stats.mannwhitneyu(chroma[:4], chroma[4:]).statistic
            assert summary.loc[(name, seed), "chroma.separation"] == pytest.approx(abs(2 * statistic / 16 - 1))


def test_networks_start_from_the_same_filters_and_end_apart(whole):
    kernels = [read_arrays(whole / "cells" / c / "weights.safetensors")[0]["params/conv1/kernel"] for c in CELLS]
    # Two epochs move them a little: the start is common, which makes the networks of one seed comparable.
    for other in kernels[1:]:
        assert not np.array_equal(kernels[0], other)
        assert np.corrcoef(kernels[0].ravel(), other.ravel())[0, 1] > 0.9


@pytest.mark.slow
def test_interrupted_in_any_cell_it_resumes_to_the_same_table(whole, tmp_path, monkeypatch, capsys):
    config = dataclasses.replace(TINY, out=tmp_path / "run")
    real, calls = cell.train_together, []

    def train_together(spec, trainings, *rest, progress, **options):
        calls.append(trainings[0].checkpoint.parent.name)

        def interrupted(done, total, text):
            progress(done, total, text)
            if len(calls) == 2 and done >= total / 2:  # the second cell, in its second epoch
                raise KeyboardInterrupt

        return real(spec, trainings, *rest, progress=interrupted, **options)

    monkeypatch.setattr(cell, "train_together", train_together)
    with pytest.raises(KeyboardInterrupt):
        alexnet.run(config)
    assert (tmp_path / "run" / "cells" / calls[1] / "state.safetensors").exists()
    path = alexnet.run(config)
    assert sorted(calls) == sorted([*CELLS, calls[1]])  # none twice but the one that was interrupted
    for name in ("summary.csv", "filters.csv", "table.md", "comparisons.csv"):
        assert (path / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(whole, monkeypatch, capsys):
    before = (whole / "table.md").read_bytes()
    monkeypatch.setattr(cell, "train_together", None)
    assert alexnet.run(dataclasses.replace(TINY, out=whole)) == whole
    assert capsys.readouterr().err.count("finished earlier") == 3
    assert (whole / "table.md").read_bytes() == before


def test_a_sweep_of_which_nothing_is_left_says_so(tmp_path):
    hot = dataclasses.replace(TINY.train, learning_rate=1e30)
    config = dataclasses.replace(TINY, train=hot, kinds=("one_tower",), regularizations=(), out=tmp_path / "run")
    with pytest.raises(InputError, match="every cell failed"):
        alexnet.run(config)
    assert pd.read_csv(tmp_path / "run" / "summary.csv")["status"].str.contains("lower the learning rate").all()


@pytest.mark.slow
def test_one_cell_and_one_seed_have_no_interval_and_no_comparison(whole, tmp_path):
    config = dataclasses.replace(TINY, kinds=("one_tower",), regularizations=(), seeds=1, out=tmp_path / "run")
    path = alexnet.run(config)
    assert "n = 1 seed, which has no interval" in (path / "table.md").read_text()
    assert not (path / "comparisons.csv").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--data.name", "digits"), "the images of digits have 1 channel: the colour of filters needs red, green and"),
        (("--kinds",), "kinds is empty: name at least one of two_towers"),
        (("--kinds", "one_tower", "one_tower"), "'one_tower' more than once"),
        (("--seeds", "0"), "seeds=0 must be at least 1"),
        (("--splits", "0"), "splits=0 must be at least 1"),
        (("--crop", "-1"), "crop=-1 must be at least 0"),
        (("--flip", "2"), "flip=2.0 must be at most 1"),
        (("--dropout", "1", "--regularizations", "both"), "AlexNet: dropout=1.0 must lie in [0, 1)"),
        (("--widths", "7", "4", "4", "4", "4"), "widths=(7, 4, 4, 4, 4) must be multiples of towers=2"),
        (("--stem-stride", "4"), "network two_towers cannot take images of 16×16 pixels: layer pool"),
        (("--train.batch-size", "64"), "train.batch_size=64 is larger than the training set"),
        (("--preset", "papre"), "invalid choice 'papre'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr(alexnet, "sweep", None)  # long work would fail loudly
    monkeypatch.setattr(sys, "argv", ["alexnet", *FLAGS, *flags, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stopped:
        cli.main(alexnet.Config, alexnet.run, prog="alexnet", presets={"paper": alexnet.PAPER})
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
