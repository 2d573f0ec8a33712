"""Networks measured by one command, at toy size: numbers by their definitions, every kind of subject, every refusal."""

import dataclasses
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import save_file

from cnnjax import InputError, analysis, models
from cnnjax.data import DataConfig, load
from cnnjax.models.weights import IMAGENET_MEAN, IMAGENET_STD
from cnnjax.runs import Progress, cli, open_run
from cnnjax.sweep.cell import WEIGHTS
from cnnjax.sweep.describe import describe
from cnnjax.sweep.protocol import ProtocolConfig
from experiments import measure
from experiments.measure import Config, cells, invariance
from experiments.measure import layers as layer_names
from experiments.measure.layers import chosen
from experiments.measure.scope import images_of
from experiments.shared import unit_checks
from experiments.shared.classes import match, read_names
from experiments.shared.kept_networks import networks_of_run
from experiments.shared.named import parse
from experiments.shared.opening import Torch, count_classes, open_all, shuffled
from experiments.shared.subject import Images
from tests.experiments import measured_networks

ROOT = Path(__file__).parents[2]
HERE = "tests.experiments.measured_networks"
PAIR = f"circular=jax:{HERE}:pair"
FIRST, SECOND = "augmentation=none-0", "augmentation=none-1"
DATA = DataConfig(size=10, canvas=12, test_images=40)
FLAGS = (
    *("--data.size", "10", "--data.canvas", "12", "--data.test-images", "40", "--quick"),
    *("--protocol.images", "12", "--layer-images", "3"),
)
TABLES = ("summary.csv", "scores.csv", "layers.csv", "comparisons.csv", "table.md")


def command(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["measure", *map(str, flags)])
    cli.main(measure.Config, measure.run, prog="measure")


def config(*subjects, **fields):
    protocol = ProtocolConfig(images=12)
    return Config(subjects=subjects, data=DATA, protocol=protocol, layer_images=3, quick=True, **fields)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of another experiment with a cell of two networks."""
    images = jnp.zeros((1, 12, 12, 1))
    drawn = [measured_networks.MODEL.init(jax.random.key(seed), images) for seed in range(2)]
    both = jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)
    out = tmp_path_factory.mktemp("trained") / "run"
    with open_run("augmentation", {"data": dataclasses.asdict(DATA), "seeds": 2}, out=out) as run:
        run.cell("augmentation=none").save(WEIGHTS, both, network=describe(measured_networks.MODEL))
    return out


@pytest.fixture(scope="module")
def whole(trained, tmp_path_factory):
    """Two networks measured without an interruption."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return measure.run(config(str(trained), out=out))


@pytest.fixture(scope="module")
def digits():
    """The images that are measured on, floats, and their labels."""
    test = load(DATA).test
    return test.images[:12].astype(np.float32) / 255, test.labels[:12]


def logits_of(images, seed=0):
    shape = jnp.zeros((1, 12, 12, 1))
    variables = measured_networks.MODEL.init(jax.random.key(seed), shape)
    return np.asarray(measured_networks.MODEL.apply(variables, jnp.asarray(images))[0])


@pytest.mark.slow
def test_scores_are_those_of_the_answers_counted_one_by_one(whole, digits):
    images, labels = digits
    summary = pd.read_csv(whole / "summary.csv").set_index("network").loc[FIRST]
    upright = logits_of(images).argmax(-1)
    assert summary["accuracy"] == np.mean(upright == labels)
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    rolled = np.stack([logits_of(np.roll(images, step, (1, 2))).argmax(-1) for step in steps])
    assert summary["shift_circular.consistency"] == pytest.approx(np.mean(rolled == upright))
    right = (rolled == labels).all(0) & (upright == labels)
    assert summary["shift_circular.worst_accuracy"] == pytest.approx(right.mean())
    turned = np.stack([logits_of(np.rot90(images, k, (1, 2))).argmax(-1) for k in (1, 2, 3)])
    assert summary["rotation.consistency"] == pytest.approx(np.mean(turned == upright))
    flips = [a != b for a, b in zip([upright, *turned], [*turned, upright], strict=True)]
    assert summary["rotation.flip_rate"] == pytest.approx(np.mean(flips))


@pytest.mark.slow
def test_layers_have_the_costs_and_errors_that_follow_from_them(whole):
    layers: Any = pd.read_csv(whole / "layers.csv").query("network == @FIRST").set_index("layer")
    first = layers.loc["stage1_conv1"]
    # A 3 × 3 convolution on 12 × 12 pixels to 2 channels, and a pool of 2 × 2.
    assert (first["receptive_field"], first["stride"], first["multiply_adds"]) == (4, 2, 12 * 12 * 9 * 2)
    # Circular padding has no border, and in their margin digits shift by a pixel without losing any of theirs.
    assert layers["error_border"].max() < 1e-5
    assert layers["error_content"].max() < 1e-5
    assert first["error_aliasing"] > 0.01
    for generator in ("translation_x", "rotation"):
        assert layers[f"share_{generator}"].sum() == pytest.approx(1, abs=1e-4)
    assert layers["signal_gradient"].loc["logits"] > 0
    assert np.isfinite(layers["variance_shifts"].loc["logits"])


@pytest.mark.slow
def test_networks_are_compared_over_the_same_images(whole, digits):
    images, labels = digits
    frame: Any = pd.read_csv(whole / "comparisons.csv").set_index(["score", "cell", "against"])
    summary = pd.read_csv(whole / "summary.csv").set_index("network")
    row = frame.loc[("shift_circular.consistency", SECOND, FIRST)]
    score = summary["shift_circular.consistency"]
    assert row["difference"] == pytest.approx(score[SECOND] - score[FIRST])
    assert row["n"] == len(images)
    assert row["low"] <= row["difference"] <= row["high"]
    assert (frame["p_holm"] >= frame["p"]).all()
    right = [(logits_of(images, seed).argmax(-1) == labels).astype(int) for seed in range(2)]
    row = frame.loc[("accuracy", SECOND, FIRST)]
    assert (row["higher"], row["lower"]) == ((right[1] > right[0]).sum(), (right[1] < right[0]).sum())


@pytest.mark.slow
def test_pages_stand_alone(whole):
    pages = [whole / "page.html", *sorted((whole / "networks").glob("*/page.html"))]
    assert [page.parent.name for page in pages[1:]] == [FIRST, SECOND]
    for page in pages:
        text = page.read_text()
        assert not re.search(r"(src|href)=\"(?!data:|#)", text)
        assert text.count("data:image/png;base64,") >= 3
    text = re.sub(r"\s+", " ", pages[0].read_text())
    for part in ("Which layers break equivariance most", "Paired comparisons", "Most consistent under"):
        assert part in text
    text = re.sub(r"\s+", " ", pages[-1].read_text())
    for part in ("shifts, zeros come in", "Lie derivatives of the logits", "How far pictures of units can be believed"):
        assert part in text


@pytest.mark.slow
def test_interrupted_it_goes_on_to_the_same_numbers(whole, trained, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    monkeypatch.setattr(cells, "variance", _interrupt)
    with pytest.raises(SystemExit):
        command(monkeypatch, trained, *FLAGS, "--out", out)
    monkeypatch.undo()
    done = {layer_names: ("anatomy",), invariance: ("predictions",), cells: ("shift_terms", "lie")}
    for module, parts in done.items():  # what is there is not measured again
        for part in parts:
            monkeypatch.setattr(module, part, _interrupt)
    with pytest.raises(SystemExit):  # of the second network
        command(monkeypatch, trained, *FLAGS, "--out", out)
    assert capsys.readouterr().err.count("finished earlier") == 4
    monkeypatch.undo()
    command(monkeypatch, trained, *FLAGS, "--out", out)
    for name in TABLES:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def _interrupt(*args):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_other_networks_under_the_same_name_are_refused_on_resume(whole, tmp_path, monkeypatch, capsys, trained):
    out = shutil.copytree(whole, tmp_path / "run")
    monkeypatch.setattr(measure, "open_all", lambda *given: {FIRST: opened(PAIR, given[1])})
    with pytest.raises(SystemExit):
        command(monkeypatch, trained, *FLAGS, "--out", out)
    assert "are not those that" in capsys.readouterr().err


def images(side=12, channels=1, classes=10):
    pixels = np.random.default_rng(0).integers(0, 256, (6, side, side, channels), np.uint8)
    names = tuple(f"class{i}" for i in range(classes))
    return Images(pixels, np.arange(6, dtype=np.int32) % classes, names, "6 images of noise", "noise")


def opened(text, shown, **torch):
    (subject,) = open_all([parse(text)], shown, Torch(**torch)).values()
    return subject


@pytest.mark.slow
def test_weights_of_a_published_network(tmp_path):
    model = models.resnet18(num_classes=3, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    models.save_weights("resnet18", tmp_path / "w.safetensors", variables)
    subject = opened(f"mine=resnet18:{tmp_path / 'w.safetensors'}", images(32, 3))
    assert (subject.title, count_classes(subject)) == ("mine", 3)
    expected = model.apply(variables, jnp.asarray(subject.floats(slice(2))))[0]
    np.testing.assert_allclose(
        subject.forward()(jnp.asarray(subject.floats(slice(2))))["logits"], expected, rtol=1e-4, atol=1e-5
    )


def test_functions_of_jax():
    subject = opened(f"jax:{HERE}:function", images())
    assert (subject.title, count_classes(subject)) == ("function", 2)
    seen = subject.floats(slice(3))
    np.testing.assert_allclose(subject.forward()(seen)["logits"], measured_networks.function()(seen), rtol=1e-6)
    assert subject.digest() == opened(f"jax:{HERE}:function", images()).digest()


@pytest.mark.slow
def test_units_of_a_network_with_maps_for_each_turn_are_checked():
    subject = opened(f"jax:{HERE}:group", images())
    shapes = jax.eval_shape(subject.forward(), subject.floats(slice(1)))
    assert shapes["stage1_conv1"].ndim == 5
    with Progress(1) as progress:
        found = unit_checks.perturbations(subject, np.arange(2), "stage1_conv1", progress)
    # Grad-CAM is of the last layer that has one map for each channel.
    labels = subject.images.labels[:2]
    maps = analysis.grad_cam(subject.forward(), subject.floats(slice(2)), "class_maps", labels, output="logits").maps
    background = subject.images.pixels.mean((0, 1, 2)) / 255
    curve = analysis.deletion(
        subject.forward(), subject.floats(slice(2)), maps[..., 0], labels, logits="logits", background=background
    )
    np.testing.assert_allclose(found["Grad-CAM/deletion"], curve.auc, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_modules_and_programs_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    module, shown = measured_networks.torch_small().eval(), images()
    subject = opened(f"torch:{HERE}:torch_small", shown, mean=(0.5,), std=(0.25,))
    pixels = torch.tensor(subject.floats(slice(3)))
    expected = module((pixels.permute(0, 3, 1, 2) - 0.5) / 0.25).detach().numpy()
    np.testing.assert_allclose(subject.forward()(pixels.numpy())["logits"], expected, rtol=1e-4, atol=1e-5)

    sizes = ({0: torch.export.Dim("batch", min=1)},)
    program = torch.export.export(module, (torch.zeros(3, 1, 12, 12),), dynamic_shapes=sizes)
    torch.export.save(program.run_decompositions({}), tmp_path / "small.pt2")
    subject = opened(f"torch:{tmp_path / 'small.pt2'}", shown, mean=(0.5,), std=(0.25,))
    np.testing.assert_allclose(subject.forward()(pixels.numpy())["logits"], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"small does not take 2 images of 14×14 pixels.*12.*--data.size"):
        opened(f"torch:{tmp_path / 'small.pt2'}", images(14))

    program = torch.export.export(module, (torch.zeros(2, 1, 12, 12),))
    torch.export.save(program.run_decompositions({}), tmp_path / "frozen.pt2")
    with pytest.raises(InputError, match="frozen does not take 3 images"):
        opened(f"torch:{tmp_path / 'frozen.pt2'}", shown)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torch_two_outputs", r"torch_two_outputs: the module returns 0, 1: say which are the logits.*"),
        ("torch_of_values", "torch_of_values: torch.export refuses Branching.*depends on values"),
        ("neither", "neither: module is an int; give a torch.nn.Module"),
    ],
)
def test_modules_that_cannot_be_used_are_named(name, message):
    pytest.importorskip("torch")
    with pytest.raises(InputError, match=message):
        opened(f"torch:{HERE}:{name}", images())
    if name == "torch_two_outputs":
        assert count_classes(opened(f"torch:{HERE}:{name}", images(), output="0")) == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"jax:{HERE}:neither", "neither: it returns a int: expected"),
        (f"jax:{HERE}:fails", "fails: .*raises RuntimeError: no weights at hand"),
        (f"jax:{HERE}:functoin", "has no function functoin; perhaps function"),
        (f"jax:{HERE}:without_logits", "without_logits does not take 2 images.*neither logits"),
        ("jax:no_such_package.networks:build", "no module no_such_package to import: install it"),
    ],
)
def test_functions_that_cannot_be_used_are_named(text, message):
    with pytest.raises(InputError, match=message):
        opened(text, images())


def test_weights_that_cannot_be_used_are_named(tmp_path):
    for name in ("w.pth", "w.bin"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
        with pytest.raises(InputError, match=r"is a pickle.*not opened"):
            opened(f"resnet18:{tmp_path / name}", images(32, 3))
    with pytest.raises(InputError, match=r"is a pickle.*torch:FILE.pt2"):
        parse(f"torch:{tmp_path / 'w.pth'}")
    other = tmp_path / "other.safetensors"
    save_file({"conv.weight": np.zeros((2, 3, 3, 3), np.float32)}, other)
    with pytest.raises(InputError, match=r"resnet18:.*does not hold the weights of resnet18:\s+missing.*bn1.bias"):
        opened(f"resnet18:{other}", images(32, 3))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "there is nothing to measure"),
        (("resnt18:w.safetensors",), "no network 'resnt18'; perhaps resnet18"),
        (("resnet18:w.safetensors",), "there is no file w.safetensors"),
        (("resnet18",), "'resnet18' is not a directory of a run; resnet18 needs its weights"),
        (("torch:no-module:build",), "PACKAGE.MODULE:FUNCTION"),
        (("nowhere",), "is not a directory of a run"),
        ((str(ROOT / "docs"),), "config.json does not exist"),
        ((PAIR, "--protocol.images", "41"), "protocol.images=41 of 40 test images: give --protocol.images 40 or fewer"),
        ((PAIR, "--class-names", "names.txt"), "names.txt cannot be read"),
        ((PAIR, PAIR), "two networks are called circular"),
        ((PAIR, "--layer-images", "0"), "layer_images=0"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr(layer_names, "anatomy", None)  # long work would fail loudly
    few = FLAGS[:6] if {"--protocol.images", "--layer-images"} & set(flags) else FLAGS
    with pytest.raises(SystemExit) as stopped:
        command(monkeypatch, *flags, *few, "--out", tmp_path / "run")
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_networks_of_a_run_are_called_by_what_tells_them_apart(tmp_path):
    one = jax.tree.map(lambda leaf: leaf[None], measured_networks.pair()[1])
    with open_run("stride", {"data": dataclasses.asdict(DATA)}, out=tmp_path / "run") as run:
        for cell in ("padding=same,downsample=max", "padding=same,downsample=stride"):
            run.cell(cell).save(WEIGHTS, one, network=describe(measured_networks.MODEL))
    assert set(networks_of_run(tmp_path / "run", images())) == {"max", "stride"}
    (only,) = networks_of_run(tmp_path / "run" / "cells" / "padding=same,downsample=max", images())
    assert only == "padding=same,downsample=max"


def test_a_run_without_networks_and_a_cell_that_it_has_not(trained, tmp_path):
    with open_run("parameters", {"seeds": 1}, out=tmp_path / "run"):
        pass
    with pytest.raises(InputError, match=r"has no cell with weights.safetensors"):
        parse(str(tmp_path / "run"))
    (trained / "cells" / "other").mkdir(exist_ok=True)
    with pytest.raises(InputError, match=r"other has no weights.safetensors: .*augmentation=none"):
        parse(str(trained / "cells" / "other"))
    assert parse(str(trained / "cells" / "augmentation=none")).count == 2


def test_a_folder_of_photographs_is_measured_where_names_fit(tmp_path):
    """Labels count only where the classes are known to be the network's."""
    shown = images(classes=3)
    assert match(shown, 3, None, network="a").labels is shown.labels
    assert match(shown, 10, None, network="a").labels is None
    file = tmp_path / "names.txt"
    file.write_text("class2\nother\nclass0\nclass1\n")
    found = match(shown, 4, read_names(file), network="a")
    assert found.labels is not None
    assert found.labels.tolist() == [2, 3, 0, 2, 3, 0]
    file.write_text("class2\nclass0\nother\n")
    assert match(shown, 3, read_names(file), network="a").labels is None
    with pytest.raises(InputError, match="has 3 names, but a has 4 classes"):
        match(shown, 4, read_names(file), network="a")
    file.write_text("class2\nclass2\n")
    with pytest.raises(InputError, match="'class2' twice"):
        read_names(file)


def test_without_data_the_images_are_those_of_the_run(trained):
    named = [parse(str(trained))]
    assert measure._data(Config(subjects=(str(trained),)), named) == DATA
    other = DataConfig(size=16)
    assert measure._data(Config(subjects=(str(trained),), data=other), named) == other


def test_all_images_are_those_of_both_splits(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(5):
            pixels = np.full((4, 4), 10 * number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    data = DataConfig(name="folder", data_dir=tmp_path)
    with Progress(1) as progress:
        assert len(images_of(data, 10, every=True, progress=progress).test.images) == 10
        with pytest.raises(InputError, match=r"protocol.images=10 of 2 test images.*--all-images would give 10"):
            images_of(data, 10, every=False, progress=progress)


def test_layers_are_chosen_by_the_levels_of_their_names():
    blocks = [f"layer{i}.{j}" for i in range(4) for j in range(2)]
    deep = [f"{block}.{name}" for block in blocks for name in ("conv1", "bn1")]
    names = ["conv1", *deep, *blocks, "layer0", "layer1"]
    assert chosen(names, 11) == ["conv1", *blocks, "layer0", "layer1"]
    assert chosen(names, 100) == names
    assert len(chosen(["features", *(f"features.{i}" for i in range(30))], 12)) == 12


def test_shuffled_variables_have_the_same_numbers():
    variables = {"a": np.arange(24.0).reshape(2, 3, 4), "b": np.zeros(3)}
    other = shuffled(variables)
    assert sorted(other["a"].ravel()) == list(range(24))
    assert (other["a"] != variables["a"]).any()
