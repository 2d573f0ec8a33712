"""The explorer's page: it stands alone, holds the library's numbers, and computes what the library computes."""

import dataclasses
import json
import re
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnnjax import InputError, analysis, models, ops
from cnnjax.data import load
from cnnjax.program.names import by_name
from cnnjax.runs import cli
from cnnjax.sweep.network import NetworkConfig
from experiments import explorer
from experiments.explorer.document import describe_tape
from experiments.explorer.fields import effective_fields
from experiments.explorer.page import in_script, write_explorer
from experiments.explorer.tape import record
from experiments.shared import kept_networks
from tests.experiments.explored_run import CELLS, CONVOLUTION, KINDS, TINY, decoded, drawn, images_of, keep_networks
from tests.experiments.headless import Headless, find_browser
from tests.repeats import repeated

NASTY = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>&"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run that has kept two networks, which nothing has trained."""
    return keep_networks(tmp_path_factory.mktemp("kept") / "run")


@pytest.fixture(scope="module")
def whole(kept, tmp_path_factory):
    """The run with the page of these networks."""
    out = tmp_path_factory.mktemp("explorer") / "run"
    return explorer.run(explorer.Config(run=kept, cells=CELLS, images=TINY.images, out=out))


@pytest.fixture(scope="module")
def document(whole):
    """What the page carries."""
    text = (whole / explorer.PAGE).read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture(scope="module")
def subjects(kept):
    """The two networks as the run has kept them."""
    return [kept_networks.of_run(kept, cell, 0, None) for cell in CELLS]


@jax.jit
def activations(f, images):
    """Of a network as a pytree: compiled once for both."""
    return f(images)


@pytest.fixture(scope="module")
def browser(whole, tmp_path_factory):
    """The page in a browser without a network; at the end there were no errors in it."""
    path = find_browser()
    if path is None:
        pytest.skip("no chromium or chrome is installed")
    with Headless(path, tmp_path_factory.mktemp("profile")) as found:
        found.open(whole / explorer.PAGE)
        yield found
        assert found.errors == []


def test_the_page_stands_alone(whole):
    text = (whole / explorer.PAGE).read_text(encoding="utf-8")
    assert len(text) < 2_000_000
    assert text.count("<script") == 2
    text = re.sub(r'(?<=id="data">).*?(?=</script>)', "", text, flags=re.DOTALL)
    assert not re.search(r"(?:https?:)?//[a-z]", text)
    assert not re.search(r"<(?:link|img|iframe|object|embed|base)\b|\bimport\b *[({\"']|@import|url\(", text)
    assert not re.search(r"\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|Function)\b *[=(]", text)
    assert "default-src 'none'; style-src 'sha256-" in text
    named = set(re.findall(r'\b(?:byId|new Grid|pressed|choose)\("([\w-]+)"', text))
    assert len(named) > 20
    assert named <= set(re.findall(r'\bid="([\w-]+)"', text))


def test_it_holds_the_numbers_of_the_library(document, subjects):
    shown = images_of(document)
    stored = subjects[0].images
    for number, title in enumerate(document["titles"]):
        index = int(title.removeprefix("test image "))
        np.testing.assert_array_equal(shown[number], stored.pixels[index].astype(np.float32) / np.float32(255))
        assert document["labels"][number] == stored.labels[index]
    assert len(set(document["labels"])) == len(shown)  # a class after the other
    for described, subject in zip(document["networks"], subjects, strict=True):
        kernel = np.asarray(subject.variables["params"]["stage1_conv1"]["conv"]["kernel"])
        (first, *_) = [operation for operation in described["operations"] if operation["op"] == "conv"]
        offset, shape = first["of"][1]
        constants = decoded(described["constants"], "<f4")
        np.testing.assert_array_equal(constants[offset : offset + kernel.size].reshape(shape), kernel)
        logits = activations(subject.forward(), jnp.asarray(subject.floats(slice(None))))["logits"]
        assert described["accuracy"] == pytest.approx(np.mean(np.argmax(logits, -1) == stored.labels))


def test_its_fields_are_those_of_the_analysis(document, subjects):
    described, subject = document["networks"][0], subjects[0]
    shown = images_of(document)
    fields = by_name(analysis.receptive_field(subject.forward(), shown[:1]))
    for layer in described["layers"]:
        field = fields[layer["name"]]
        assert [axis["size"] for axis in layer["axes"]] == list(field.size)
        for u in range(field.units[0]):
            (rows, columns) = field.span((u, u))
            assert [axis["spans"][u] for axis in layer["axes"]] == [list(rows), list(columns)]
            runs = layer["axes"][0]["reads"][u]
            read = [i for first, last in zip(runs[::2], runs[1::2], strict=True) for i in range(first, last + 1)]
            assert read == field.support((u, u))[0].tolist()
    found = effective_fields(subject.forward(), shown, "stage2_conv1")
    one = analysis.effective_receptive_field(subject.forward(), shown, "stage2_conv1", (0, 1))
    np.testing.assert_allclose(found.maps[0, 1], one.map, atol=1e-6)
    assert found.radius(0, 1) == pytest.approx(one.radius(), abs=1e-6)


def test_nothing_of_a_run_can_be_more_than_text(tmp_path):
    text = in_script({"titles": [NASTY], "half": "\ud800\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["titles"] == [NASTY]
    write_explorer(tmp_path / "page.html", NASTY, NASTY, {"titles": [NASTY]})
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<script") == 2
    assert "<img" not in page


def test_a_run_and_an_image_of_ones_own(kept, tmp_path, monkeypatch, capsys):
    photo = tmp_path / "<b>photo.png"
    Image.new("RGB", (30, 20), (255, 0, 0)).save(photo)
    monkeypatch.chdir(tmp_path)
    flags = ("--cells", "augmentation=both", "--image", str(photo), "--images", "5", "--out", "mine")
    for told in (("--dry-run",), ()):
        monkeypatch.setattr(sys, "argv", ["explorer", "--run", str(kept), *flags, *told])
        cli.main(explorer.Config, explorer.run, prog="explorer")
        assert (tmp_path / "mine").exists() == (not told)
    text = (tmp_path / "mine" / explorer.PAGE).read_text(encoding="utf-8")
    held = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert [network["name"] for network in held["networks"]] == ["augmentation=both"]
    assert held["titles"][0] == "your image"
    assert held["labels"][0] is None
    np.testing.assert_allclose(images_of(held)[0], 0.299, atol=0.5 / 255 + 1e-3)  # red as grey
    assert "<b>" not in text
    assert capsys.readouterr().out.splitlines()[-1] == "mine"


@pytest.mark.slow
def test_a_pair_is_trained_where_no_run_is_named(tmp_path):
    whole = explorer.run(dataclasses.replace(TINY, out=tmp_path / "run"))
    text = (whole / explorer.PAGE).read_text(encoding="utf-8")
    assert all(f'"name":"{cell}"' in text for cell in CELLS)
    assert set(pd.read_csv(whole / "summary.csv")["cell"]) == set(CELLS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": ("a",)}, "cells=a without a run"),
        ({"images": 0}, "images=0 must be at least 1"),
        ({"network": NetworkConfig.of("vit", width=8, depth=1, heads=1, patch_size=7)}, "the page cannot, as of att"),
        ({"network": NetworkConfig.of("mlp", widths=(3,))}, "has no maps"),
        ({"crop": 100}, "too small for images of 10 pixels shifted by up to 100"),
    ],
)
def test_what_is_refused_is_refused_before_training(change, message, tmp_path, monkeypatch, without_type_checks):
    monkeypatch.setattr("cnnjax.sweep.cell.train_together", None)
    with pytest.raises(InputError, match=message):
        explorer.run(dataclasses.replace(TINY, out=tmp_path / "run", **change))
    assert not (tmp_path / "run").exists()


def test_in_a_browser_the_sliding_sums_are_those_of_the_convolution(browser, document):
    options = [("same", 1, 1), ("valid", 2, 1), ("full", 3, 2), ("circular", 2, 3), ("reflect", 1, 2)]
    kernel = np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)
    found = browser.value(CONVOLUTION % (kernel.ravel().tolist(), json.dumps(options)))
    image = jnp.asarray(images_of(document)[:1])
    for (padding, stride, dilation), (shape, data) in zip(options, found, strict=True):
        expected = ops.conv(image, jnp.asarray(kernel), padding=padding, stride=stride, dilation=dilation)
        assert tuple(shape) == expected.shape[1:3]
        np.testing.assert_allclose(np.reshape(data, shape), expected[0, ..., 0], atol=1e-5)


def test_in_a_browser_the_sum_that_is_shown_is_that_of_the_network(browser, document, subjects):
    browser.value("document.getElementById('map').focus()")
    said = browser.value("document.getElementById('sum').textContent")
    row, column = map(int, re.search(r"Row (\d+), column (\d+)", said).groups())
    browser.press("ArrowDown", 2)
    browser.press("ArrowLeft")
    assert f"Row {row + 2}, column {column - 1}:" in browser.value("document.getElementById('sum').textContent")
    variables, model = subjects[0].variables, load(TINY.data)
    pixels = (jnp.asarray(images_of(document)[:1]) - model.mean[0]) / model.std[0]
    y = ops.conv(pixels, jnp.asarray(variables["params"]["stage1_conv1"]["conv"]["kernel"]))
    shown = float(browser.value("document.getElementById('sum').dataset.value"))
    assert shown == pytest.approx(float(y[0, row + 2, column - 1, 0]), abs=1e-4)
    terms = browser.value("[...document.querySelectorAll('#products b')].map((one) => one.textContent)")
    assert len(terms) == 9
    assert sum(float(term[2:].replace("−", "-")) for term in terms) == pytest.approx(shown, abs=9 * 0.0005)


def _moved(images, degrees, offset):
    return ops.shift(ops.rotate(images, degrees), offset)


MOVES = [(0, 0, 0), (3, -2, 0), (0, 0, 37), (-1, 4, -90), (2, 1, 171)]


def test_in_a_browser_images_move_and_scores_follow_as_in_the_library(browser, document, subjects):
    images, library = jnp.asarray(images_of(document)[1:2]), jax.jit(_moved)
    for down, right, degrees in MOVES:
        move = f"explorer.move(explorer.carriedImage(1), {json.dumps(dict(down=down, right=right, degrees=degrees))})"
        moved = library(images, jnp.float32(degrees), jnp.array([down, right]))
        np.testing.assert_allclose(browser.value(f"Array.from({move}.data)"), np.ravel(moved), atol=1e-5)
        for number, subject in enumerate(subjects):
            logits = activations(subject.forward(), moved)["logits"]
            found = browser.value(f"Array.from(explorer.networks[{number}].activations({move}).logits.data)")
            np.testing.assert_allclose(found, np.ravel(logits), atol=1e-4)


@pytest.mark.parametrize("kind", repeated(list(KINDS), quick=1))
def test_in_a_browser_networks_of_other_kinds_give_their_activations(browser, kind):
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 16, 16, 1)), jnp.float32)
    f = models.bind(KINDS[kind], drawn(KINDS[kind], images.shape[1:], 0))
    described = json.dumps(describe_tape(record(f, images.shape[1:])))
    image = f"explorer.array([1, 16, 16, 1], Float32Array.from({np.ravel(images).tolist()}))"
    made = f"new explorer.Network({described}).activations({image})"
    code = f"Object.entries({made}).map(([name, made]) => [name, Array.from(made.data)])"
    expected = by_name(f(images))
    found = dict(browser.value(code))
    for name, values in found.items():
        np.testing.assert_allclose(values, np.ravel(expected[name]), atol=1e-4, err_msg=name)
    assert len(found) > 3


def test_in_a_browser_the_matrix_is_that_of_the_convolution(browser):
    for padding, stride in (("same", 1), ("valid", 2), ("circular", 1)):
        used = np.array(
            browser.value(f"explorer.convolutionMatrix(7, 3, {{ stride: {stride}, padding: '{padding}' }})")
        )
        kernel = jnp.array([2.0, 3.0, 5.0]).reshape(3, 1, 1)
        expected = ops.conv_matrix(kernel, 7, stride=stride, padding=padding)
        np.testing.assert_array_equal(np.array([2.0, 3.0, 5.0, 0.0])[used], expected)


def test_in_a_browser_a_unit_shows_what_it_weighs(browser, document, subjects):
    found = browser.value("""(() => {
      const layer = explorer.networks[0].layers[1];
      const { weight } = explorer.fieldOf(layer, [1, 2]);
      const places = Array.from({ length: 14 }, (_, i) => i);
      return [layer.name, places.map((r) => places.map((c) => weight(r, c)))];
    })()""")
    name, weights = found
    one = effective_fields(subjects[0].forward(only=(name,)), images_of(document), name).maps[1, 2]
    np.testing.assert_allclose(weights, one / one.max(), atol=0.51 / 255)


def test_in_a_browser_keys_and_fingers_move_things(browser, whole):
    where = "document.getElementById('where').textContent"
    browser.value("document.getElementById('moved').focus()")
    browser.press("ArrowRight", 3)
    browser.press("ArrowUp")
    browser.press("PageUp", 2)
    browser.settle()
    assert browser.value(where) == "−1 px down, 3 px right, turned by 10°"
    assert "says" in browser.value("document.querySelector('.verdict').textContent")
    browser.open(whole / explorer.PAGE, width=390, height=800, mobile=True)
    assert browser.value("document.documentElement.scrollWidth") <= 390  # nothing is cut off on a phone
    browser.value("document.getElementById('moved').scrollIntoView({ block: 'center' })")
    box = browser.value(
        "(({ x, y, width }) => [x, y, width])(document.getElementById('moved').getBoundingClientRect())"
    )
    pixel = box[2] / 14
    start = [box[0] + 5 * pixel, box[1] + 5 * pixel]
    for kind, points in (
        ("touchStart", [start]),
        ("touchMove", [[start[0] + 2 * pixel, start[1] + 4 * pixel]]),
        ("touchEnd", []),
    ):
        browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points])
    browser.settle()
    assert browser.value(where) == "4 px down, 2 px right, turned by 0°"


def test_in_a_browser_names_of_any_kind_are_text(browser, document, tmp_path):
    strange = {**document, "titles": [NASTY] * len(document["titles"]), "classes": [NASTY] * len(document["classes"])}
    strange["networks"] = [{**network, "name": NASTY, "title": NASTY} for network in document["networks"]]
    write_explorer(tmp_path / "page.html", NASTY, NASTY, strange)
    browser.open(tmp_path / "page.html")
    assert browser.value("document.querySelectorAll('script, img').length") == 2
    assert NASTY in browser.value("document.body.textContent")


def test_a_seed_is_the_networks_own_where_a_run_begins_at_another(kept, tmp_path):
    run = shutil.copytree(kept, tmp_path / "run")
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config["config"]["first_seed"] = 5
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    subject, before = kept_networks.of_run(run, CELLS[0], 5, None), kept_networks.of_run(kept, CELLS[0], 0, None)
    assert subject.title.endswith("seed 5")
    jax.tree.map(np.testing.assert_array_equal, subject.variables, before.variables)
    with pytest.raises(InputError, match=r"seed=0: .* has networks from 5 to 5"):
        kept_networks.of_run(run, CELLS[0], 0, None)


@pytest.mark.parametrize("rounded", [lambda x: (3 * x).astype(jnp.int32), lambda x: jnp.argmax(x, -1) // 2])
def test_what_rounds_to_whole_numbers_is_refused(rounded):
    def network(images):
        maps = images + rounded(images).sum().astype(jnp.float32)
        return maps.mean((1, 2)), {"maps": maps}

    with pytest.raises(InputError, match="rounds to whole numbers"):
        record(network, (8, 8, 3))
