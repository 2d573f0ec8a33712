"""The receptive field experiment end to end: published rows, pictures, effective fields, and what it refuses."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnnjax.runs import cli, read_config
from experiments import receptive_field
from experiments.shared.picture import load_picture


def command(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["receptive_field", *map(str, flags)])
    cli.main(receptive_field.Config, receptive_field.run, prog="receptive_field")


# Araujo et al. 2019; the paddings are those of torchvision's networks, the centres of both agree with the closed form.
PUBLISHED = {
    ("resnet50", "stage4_block3"): (427, 32, 213),
    ("alexnet", "pool5"): (195, 32, 66),
    ("resnet20", "stage3_block3"): (81, 4, 40),
    ("lenet5", "s4"): (16, 4, 2),
}


def test_published_rows(tmp_path, monkeypatch, capsys):
    names = list(dict.fromkeys(network for network, _ in PUBLISHED))
    path = tmp_path / "run"
    command(monkeypatch, "--model", *names, "--effective", "off", "--out", path)
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == str(path)
    assert re.search(r"stage4_block3 +7² +427 +32 +213 +1\.91 +yes +yes +yes", printed)
    summary = pd.read_csv(path / "summary.csv").set_index(["network", "layer"])
    columns = ["receptive_field", "stride", "padding"]
    assert {key: tuple(summary.loc[key, columns]) for key in PUBLISHED} == PUBLISHED
    assert summary["exact"].all()
    assert summary["aligned"].all()
    for network in names:
        mine = summary.loc[network]
        side = mine["receptive_field"].iloc[-1]
        assert mine["whole_image"].iloc[-1]
        # A layer is unproductive where the map before it sees more than the image already.
        before = mine["receptive_field"].shift(fill_value=1)
        assert (mine["unproductive"] == (before > side) & ~mine["whole_image"]).all()
    assert list(summary.loc["resnet50"].query("unproductive").index) == [
        "stage3_block6",
        "stage4_block1",
        "stage4_block2",
        "stage4_block3",
    ]
    assert "| stage4_block3 " in (path / "table.md").read_text()
    for network in names:
        for figure in ("fields", "depth"):
            Image.open(path / "figures" / f"{network}_{figure}.png").verify()


def test_layers_come_in_forward_order(tmp_path, monkeypatch):
    command(monkeypatch, "--model", "lenet5", "--effective", "off", "--out", tmp_path / "run")
    summary = pd.read_csv(tmp_path / "run" / "summary.csv")
    assert list(summary["layer"]) == ["c1", "s2", "c3", "s4", "c5", "f6", "logits"]


@pytest.mark.slow
def test_effective_fields_of_small_networks(tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"
    flags = ("--model", "lenet5", "--layer", "s2", "c5", "--unit", "0", "0", "--out", path)
    command(monkeypatch, *flags)
    assert "effective" in capsys.readouterr().out
    summary = pd.read_csv(path / "summary.csv").set_index("layer")
    # A corner unit sees 4 of the 6 rows and columns of its field; the whole image has no unit in the middle.
    assert 0 < summary.loc["s2", "effective_radius"] <= 3 * np.sqrt(2)
    assert summary["effective_radius"].notna().sum() == 1
    assert {figure.stem for figure in (path / "figures").iterdir()} == {
        "lenet5_fields",
        "lenet5_depth",
        "lenet5_effective",
    }
    assert read_config(path)["config"]["unit"] == [0, 0]


@pytest.mark.slow
def test_tokens_that_see_everything_and_networks_without_maps(tmp_path):
    path = receptive_field.run(receptive_field.Config(model=("vit_tiny", "mlp"), effective="off", out=tmp_path / "run"))
    summary = pd.read_csv(path / "summary.csv").set_index(["network", "layer"])
    assert tuple(summary.loc[("vit_tiny", "patches"), ["receptive_field", "stride"]]) == (4, 4)
    assert summary.loc[("vit_tiny", "block1"), "whole_image"]
    assert not summary["unproductive"].any()
    assert summary.loc["mlp", "whole_image"].all()


def test_another_size_and_a_picture_of_ones_own(tmp_path, monkeypatch):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    photo, path = tmp_path / "photo.png", tmp_path / "run"
    command(monkeypatch, "--model", "all_cnn_c", "--side", "96", "--image", photo, "--effective", "off", "--out", path)
    summary = pd.read_csv(path / "summary.csv").set_index("layer")
    assert summary.loc["logits", "receptive_field"] == 96
    assert summary.loc["class_maps", ["receptive_field", "stride"]].tolist() == [27, 4]
    picture = load_picture(str(photo), side=4, channels=3)
    # A resampler's weights add to 1 within rounding: single precision, not always to the last digit.
    np.testing.assert_allclose(picture, np.broadcast_to([1.0, 0, 0], (4, 4, 3)), atol=1e-6)


@pytest.mark.parametrize(("source", "channels"), [("", 1), ("", 3), ("china", 3), ("china", 1), ("digit", 3)])
def test_carried_pictures(source, channels):
    picture = load_picture(source, side=16, channels=channels)
    assert picture.shape == (16, 16, channels)
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert picture.std() > 0.1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model", "resnet51"), "model='resnet51' is unknown; use one of"),
        (("--model", "mlp", "mlp"), "model has mlp more than once"),
        (("--model", "alexnet", "--side", "16"), "alexnet cannot take images of 16×16 pixels: layer "),
        (("--model", "mlp", "--side", "-1"), "side=-1 must be at least 0"),
        (("--model", "lenet5", "--layer", "c2"), "lenet5: layer='c2' is unknown; use one of"),
        (("--model", "lenet5", "--layer", "s4", "--unit", "9", "9"), "lenet5 has no such unit in s4: position=(9, 9)"),
        (
            ("--model", "lenet5", "--image", "absent.jpg"),
            "absent.jpg is no image file; give the path of one, or one of",
        ),
        (("--model", "lenet5", "--image", __file__), "cannot be read (it is not one of"),
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
