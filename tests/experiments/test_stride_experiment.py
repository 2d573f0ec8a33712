"""The stride experiment end to end at toy size: whole, killed and resumed, exact where it must be, what it refuses."""

import dataclasses
import re
import sys

import jax
import pandas as pd
import pytest
from PIL import Image

from cnnjax.data import DataConfig, load
from cnnjax.runs import Progress, cli, grid, open_run
from cnnjax.sweep import cell
from cnnjax.sweep.cell import Outcome
from cnnjax.sweep.cells import Sweep
from cnnjax.sweep.network import NetworkConfig
from cnnjax.sweep.protocol import ProtocolConfig, prove, tasks
from cnnjax.training import TrainConfig, read_arrays
from experiments import stride
from experiments.stride import cells as stride_cells

TINY = stride.Config(
    data=DataConfig(train_images=40, test_images=20, size=8, canvas=8),
    network=NetworkConfig.of("all_conv", widths=(4,), depth=1),
    downsamples=("stride", "max", "polyphase"),
    paddings=("circular",),
    augmentations=("shift",),
    train=TrainConfig(epochs=2, batch_size=20),
    protocol=ProtocolConfig(max_shift=1, images=20, orbits=("shift_circular", "shift_crop")),
    terms_images=10,
    seeds=2,
)
CELLS = [f"padding=circular,downsample={kind},augmentation=shift" for kind in TINY.downsamples]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return stride.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


def test_the_directory_tells_the_whole_story(whole):
    summary = pd.read_csv(whole / "summary.csv")
    assert list(zip(summary["cell"], summary["seed"], strict=True)) == [(c, s) for c in CELLS for s in (0, 1)]
    pairs = pd.read_csv(whole / "comparisons.csv")
    assert set(zip(pairs["cell"], pairs["against"], strict=True)) == {(CELLS[0], CELLS[1]), (CELLS[2], CELLS[1])}
    assert {"test.accuracy", "shift_circular.consistency"} <= set(pairs["score"])
    text = (whole / "table.md").read_text()
    assert re.search(r"\| circular +\| +polyphase \| +shift \| +\d+\.\d .* \| +100\.0 \(≥ \d+\.\d\) \| +– \|", text)
    assert "What a stride in place of pooling costs" in text
    for name in ("scores", "terms"):
        with Image.open(whole / "figures" / f"{name}.png") as figure:
            assert len(figure.getcolors(figure.width * figure.height)) > 50  # type: ignore[arg-type]


def test_polyphase_with_circular_padding_answers_every_circular_shift_alike(whole):
    summary = pd.read_csv(whole / "summary.csv").set_index("cell")
    assert (summary.loc[CELLS[2], "shift_circular.consistency"] == 1).all()
    assert "Every circular shift leaves every answer alone, for every seed:" in (whole / "table.md").read_text()
    assert "polyphase with circular padding, augmentation shift" in (whole / "table.md").read_text()


def test_terms_vanish_where_their_cause_is_absent(whole):
    terms = {name: read_arrays(whole / "cells" / name / "terms.safetensors")[0] for name in CELLS}
    for found in terms.values():
        assert found["border"].max() < 1e-5  # circular padding continues every map
        assert found["content"].min() > 0  # zeros came in
        assert (found["total"] <= found["aliasing"] + found["border"] + found["content"] + 1e-5).all()
    assert terms[CELLS[2]]["aliasing"].max() < 1e-5  # polyphase sampling follows the picture
    assert terms[CELLS[0]]["aliasing"].min() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name"),
    [pytest.param(cell, "train_together", marks=pytest.mark.slow), (Sweep, "networks")],
)
def test_killed_on_the_way_it_resumes_to_the_same_tables(whole, tmp_path, monkeypatch, module, name):
    real, calls = getattr(module, name), []

    def stop(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    config = dataclasses.replace(TINY, out=tmp_path / "run")
    monkeypatch.setattr(module, name, stop)
    with pytest.raises(KeyboardInterrupt):
        stride.run(config)
    path = stride.run(config)
    assert len(calls) == 4  # the stop among them, and nothing twice
    for file in ("summary.csv", "scores.csv", "table.md"):
        assert (path / file).read_bytes() == (whole / file).read_bytes()


@pytest.mark.parametrize(
    ("padding", "after"), [("valid", (22, (22 - 2) // 2, (10 - 2) // 2)), ("circular", (24, 12, 6))]
)
def test_the_grid_preset_has_maps_that_polyphase_sampling_halves_exactly(padding, after):
    dataset = load(dataclasses.replace(stride.GRID.data, train_images=20, test_images=10))
    (one,) = grid(stride.Treatment(), {"downsample": ("polyphase",), "padding": (padding,)})
    model = stride._plan(one, stride.GRID, dataset).cell.model
    images = jax.ShapeDtypeStruct((1, 24, 24, 1), "float32")
    _, activations = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], images)
    assert [activations[name].shape[1] for name in ("conv1", "stage1_conv1", "stage2_conv1")] == list(after)
    crops = dataclasses.replace(stride.GRID.protocol, orbits=("shift_crop",))
    prove(tasks(crops, dataset), model, dataset)


@pytest.mark.parametrize(
    ("padding", "size", "reason"),
    [("valid", 8, "no activation of f has"), ("same", 7, "activation map has 4 units 2 pixels apart along 7")],
)
def test_a_map_that_does_not_reach_round_the_image_has_no_terms(padding, size, reason, tmp_path, capsys):
    config = dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, size=size, canvas=size))
    dataset = load(config.data)
    network = dataclasses.replace(config.network, head="average")
    (one,) = grid(stride.Treatment(), {"padding": (padding,)})
    plan = stride._plan(one, dataclasses.replace(config, network=network), dataset)
    with open_run("stride", config, out=tmp_path / "run") as run, Progress(1) as progress:
        swept = Sweep(run, [plan.cell], dataset, None, 1, {}, {plan.cell.name: Outcome({})})
        found = stride_cells.measure_terms(swept, shift=(1, 1), images=4, progress=progress)
    assert found == {}
    assert f"none: {reason}" in capsys.readouterr().err


def test_the_paper_preset_is_the_recipe_of_adaptive_polyphase_sampling():
    hyper = stride.PAPER.train.hyper(50_000)
    per_epoch = 50_000 // 256
    assert float(hyper.total_steps) == 250 * per_epoch
    assert list(map(float, hyper.drops)) == [100 * per_epoch, 200 * per_epoch]
    dataset = load(DataConfig(size=32, canvas=32, train_images=20, test_images=10))
    (one,) = grid(stride.Treatment(), {"downsample": ("polyphase",), "padding": ("circular",)})
    model = stride._plan(one, stride.PAPER, dataset).cell.model
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 32, 32, 3), "float32"))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert 11.1e6 < count < 11.2e6  # ResNet-18 for 32 pixels has 11.17 million


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--downsamples",), "downsamples is empty"),
        (("--paddings",), "paddings is empty"),
        (("--seeds", "0"), "seeds=0 must be at least 1"),
        (("--terms-images", "0"), "terms_images=0 must be at least 1"),
        (("--terms-shift", "0", "0"), "terms_shift=(0, 0) moves nothing"),
        (("--terms-shift", "0", "16"), "terms_shift=(0, 16) moves images of 16 pixels out of sight"),
        (("--farthest", "-1"), "farthest=-1 must be at least 0"),
        (("--network.name", "mlp"), "network.downsample has no meaning for mlp: "),
        (("--network.name", "vit"), "network.downsample has no meaning for vit: "),
        (("--network.padding", "reflect"), "network.padding is varied here: name what to compare with --paddings"),
        (("--protocol.orbits", "rotation"), "protocol.orbits has rotation"),
        (("--paddings", "valid"), "16×16"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr(stride, "sweep", None)  # long work would fail loudly
    monkeypatch.setattr(sys, "argv", ["stride", *flags, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stopped:
        cli.main(stride.Config, stride.run, prog="stride", presets={"grid": stride.GRID, "paper": stride.PAPER})
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
