"""The sample complexity experiment: its task, its networks, its search, and the whole at toy size."""

import dataclasses
import math
import re
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cnnjax.runs import cli
from experiments import sample_complexity
from experiments.sample_complexity import exponents, networks, search
from experiments.sample_complexity.exponents import Axis, Measured
from experiments.sample_complexity.task import Task, draw_images, draw_signal, linear_floor

TINY = sample_complexity.Config(
    patches=(2, 4),
    dimensions=(4, 8),
    at_patches=4,
    at_dimension=4,
    target=0.3,
    most=64,
    test_images=200,
    steps=40,
    repetitions=2,
    pilots=1,
    thresholds=(0.0, 0.5),
)
KINDS = ("cnn", "lcn", "fcn")
K_AXIS, D_AXIS = Axis("k", "patches", "dimension", 8), Axis("d", "dimension", "patches", 4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return sample_complexity.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


def test_the_directory_tells_the_whole_story(whole):
    needs = pd.read_csv(whole / "needs.csv")
    sizes = [(2, 4), (4, 4), (4, 8)]
    assert list(zip(needs["network"], needs["patches"], needs["dimension"], strict=True)) == [
        (kind, *size) for kind in KINDS for size in sizes
    ]
    summary = pd.read_csv(whole / "summary.csv")
    assert len(summary) == len(KINDS) * len(sizes) * TINY.repetitions
    text = (whole / "table.md").read_text()
    assert re.search(r"\| CNN +\| .*at most k \+ d: 0\.42 .*at most k \+ d: 0\.58", text)  # log2 of 8/6 and of 12/8
    assert re.search(r"\| k +\| +d \| +LCN / CNN \| +FCN / LCN \|", text)
    with Image.open(whole / "figures" / "needs.png") as figure:
        assert len(figure.getcolors(figure.width * figure.height)) > 50  # type: ignore[arg-type]


def test_killed_on_the_way_it_resumes_to_the_same_tables(whole, tmp_path, monkeypatch):
    real, calls = sample_complexity.choose_threshold, []

    def stop(*args):
        calls.append(args)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*args)

    config = dataclasses.replace(TINY, out=tmp_path / "run")
    monkeypatch.setattr(sample_complexity, "choose_threshold", stop)
    with pytest.raises(KeyboardInterrupt):
        sample_complexity.run(config)
    path = sample_complexity.run(config)
    assert len(calls) == 10  # the stop among them, and nothing twice
    for file in ("summary.csv", "needs.csv", "exponents.csv", "table.md"):
        assert (path / file).read_bytes() == (whole / file).read_bytes()


def test_a_run_that_grows_comes_to_the_same_tables_and_keeps_what_stands(whole, tmp_path, monkeypatch):
    real, calls = sample_complexity.choose_threshold, []
    monkeypatch.setattr(sample_complexity, "choose_threshold", lambda *args: calls.append(args) or real(*args))
    config = dataclasses.replace(TINY, out=tmp_path / "run")
    sample_complexity.run(dataclasses.replace(config, repetitions=1, networks=KINDS[:2]))
    path = sample_complexity.run(config)
    assert len(calls) == 9  # one for each cell
    for file in ("summary.csv", "needs.csv", "exponents.csv", "table.md"):
        assert (path / file).read_bytes() == (whole / file).read_bytes()


def test_images_are_noise_but_for_the_signal_in_one_patch():
    random = np.random.default_rng(0)
    task = Task(patches=5, dimension=6, noise=0.1)
    signal = draw_signal(random, task)
    assert np.linalg.norm(signal) == pytest.approx(1, abs=1e-6)
    images, labels = draw_images(random, 4000, task, signal)
    assert images.shape == (4000, 5, 6)
    along = images @ signal  # about the label in one patch, about 0 in the others
    place = np.abs(along).argmax(1)
    assert (np.sign(along[np.arange(4000), place]) == labels).all()
    assert abs(labels.mean()) < 4 / math.sqrt(4000)
    assert np.bincount(place, minlength=5).min() > 800 - 4 * math.sqrt(4000 * 0.2 * 0.8)
    images[np.arange(4000), place] -= labels[:, None] * signal
    assert images.std() == pytest.approx(0.1, rel=0.02)


def test_no_linear_classifier_is_better_than_the_floor():
    random = np.random.default_rng(1)
    task = Task(patches=9, dimension=4, noise=0.4)
    signal = draw_signal(random, task)
    images, labels = draw_images(random, 20_000, task, signal)
    best = ((images @ signal).sum(1) * labels <= 0).mean()
    floor = linear_floor(task)
    assert floor == pytest.approx(0.5 * math.erfc(1 / (0.4 * 3) / math.sqrt(2)))
    assert best == pytest.approx(floor, abs=4 * math.sqrt(floor * (1 - floor) / 20_000))
    learned = networks.train(random, "fcn", images[:2000], labels[:2000], networks.Recipe(0.0, 60, 0.1))
    assert (networks.scores("fcn", learned, images, 0.0) * labels <= 0).mean() > floor - 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_the_gradient_is_that_of_the_loss(kind, threshold):
    random = np.random.default_rng(2)
    images, labels = random.standard_normal((7, 3, 4)), random.choice([-1.0, 1.0], 7)
    weights = networks.draw_weights(random, kind, 3, 4, 1.0).astype(np.float64)

    def loss(weights):  # as the module says it
        filters = {"cnn": lambda i: weights, "lcn": lambda i: weights[i], "fcn": lambda i: weights[i]}[kind]
        f = np.zeros(7)
        for i in range(3):
            seen = images.reshape(7, -1) if kind == "fcn" else images[:, i]
            z, b = seen @ filters(i), threshold * np.linalg.norm(filters(i))
            f += np.where(z > b, z - b, np.where(z < -b, z + b, 0))
        return np.log1p(np.exp(-labels * f)).mean()

    found = networks.loss_gradient(kind, weights, images, labels, threshold)
    expected = np.zeros_like(weights)
    for place in np.ndindex(weights.shape):
        step = np.zeros_like(weights)
        step[place] = 1e-6
        expected[place] = (loss(weights + step) - loss(weights - step)) / 2e-6
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert np.abs(expected).max() > 1e-2


def test_each_network_is_one_of_the_next():
    random = np.random.default_rng(3)
    images, filters = random.standard_normal((6, 3, 4)), random.standard_normal((3, 4))
    shared = np.stack([filters[0]] * 3)
    cnn = networks.scores("cnn", filters[0], images, 0.2)
    lcn = networks.scores("lcn", shared, images, 0.2)
    np.testing.assert_allclose(lcn, cnn)
    whole = np.zeros((3, 3, 4))
    whole[range(3), range(3)] = filters
    np.testing.assert_allclose(
        networks.scores("fcn", whole.reshape(3, 12), images, 0.2), networks.scores("lcn", filters, images, 0.2)
    )


def test_training_treats_all_directions_alike(monkeypatch):
    random = np.random.default_rng(4)
    images, labels = random.standard_normal((20, 2, 3)), random.choice([-1.0, 1.0], 20)
    turn, _ = np.linalg.qr(random.standard_normal((6, 6)))
    start = 0.1 * random.standard_normal((2, 6))
    recipe = networks.Recipe(0.3, 20, 0.1)
    monkeypatch.setattr(networks, "draw_weights", lambda *_: start)
    plain = networks.train(random, "fcn", images, labels, recipe)
    monkeypatch.setattr(networks, "draw_weights", lambda *_: start @ turn)
    turned = networks.train(random, "fcn", (images.reshape(20, 6) @ turn).reshape(20, 2, 3), labels, recipe)
    np.testing.assert_allclose(turned, plain @ turn, atol=1e-6)


def test_a_need_is_where_the_error_crosses_the_target():
    assert list(search.counts(11)) == [1, 2, 3, 4, 6, 8, 11]
    found = search.first_crossing(lambda n: (1 - 0.1 * math.log(n), 0.0), search.counts(10**6), 0.25)
    assert found.images == pytest.approx(math.exp(7.5))  # the error is linear in the logarithm, as between two numbers
    assert search.first_crossing(lambda n: (0.2, 0.1), search.counts(100), 0.25) == (1.0, 0.1)
    assert math.isnan(search.first_crossing(lambda n: (0.4, 0.0), search.counts(100), 0.25).images)


def test_a_threshold_is_chosen_among_those_that_reach(monkeypatch):
    def needs(seeds, kind, task, asked, threshold):
        images = {0.0: 50.0, 0.5: 20.0, 1.0: 30.0}[threshold]
        return [search.Need(images if images <= asked.most else math.nan, 0.0) for _ in seeds]

    monkeypatch.setattr(search, "all_needed", needs)
    asked = search.Search(0.25, 1000, 100, 10, 0.1)
    easy, hard = Task(4, 8, 0.3), Task(64, 8, 0.3)  # floors of 4.8 and 33.8 %
    assert search.choose_threshold("lcn", easy, asked, (0.0, 0.5, 1.0), 3) == 0.5
    assert search.choose_threshold("lcn", easy, asked, (0.0,), 3) == 0.0
    assert search.choose_threshold("lcn", hard, asked, (0.0,), 3) is None
    assert search.choose_threshold("lcn", easy, dataclasses.replace(asked, most=10), (0.0, 0.5), 3) is None


def test_the_exponent_of_a_power_law_is_its_power():
    random = np.random.default_rng(5)
    power, factor = random.normal(1.7, 0.1, 6), random.uniform(1, 9, 6)
    needs = [Measured("lcn", k, 8, factor * k**power, np.zeros(6), 1.0) for k in (4, 16, 8)]
    missed = Measured("lcn", 32, 8, np.full(6, np.nan), np.zeros(6), math.nan)
    found = exponents.exponent(exponents.along([*needs, missed], "lcn", K_AXIS), K_AXIS)
    assert found is not None
    assert found.mean == pytest.approx(power.mean())
    assert found.low < power.mean() < found.high
    assert exponents.exponent(needs[:1], K_AXIS) is None


@pytest.mark.parametrize(
    ("kind", "bound", "in_k", "in_d"), [("cnn", 0, 0.6, 0.8), ("lcn", 0, 1, 1), ("lcn", 1, 1.6, 0.8), ("fcn", 0, 2, 1)]
)
def test_the_exponents_of_the_theory(kind, bound, in_k, in_d):
    _, function = exponents.THEORY[kind][bound]
    along_k = [Measured(kind, k, 8, np.ones(1), np.ones(1), 0.0) for k in (8, 16)]
    along_d = [Measured(kind, 4, d, np.ones(1), np.ones(1), 0.0) for d in (12, 20)]
    assert exponents.theory_exponent(function, along_k) == pytest.approx(
        in_k if in_k % 1 == 0 else in_k // 1 + math.log2(1.5)
    )
    expected = in_d if in_d == 1 else math.log(24 / 16) / math.log(20 / 12)
    assert exponents.theory_exponent(function, along_d) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--networks",), "networks is empty"),
        (("--patches", "8"), "patches=(8,) must be two at least"),
        (("--patches", "1", "4"), "patches=(1, 4) must be at least 2"),
        (("--dimensions", "8", "8"), "dimensions=(8, 8) has one more than once"),
        (("--target", "0.5"), "target=0.5 must lie between 0 and 0.5"),
        (("--target", "0"), "target=0.0 must lie between 0 and 0.5"),
        (("--thresholds",), "thresholds is empty"),
        (("--thresholds", "0", "--noise", "9"), "make every network linear"),
        (("--noise", "-1"), "noise=-1.0 must be at least 0"),
        (("--repetitions", "0"), "repetitions=0 must be at least 1"),
        (("--most", "1000000", "--patches", "4", "1000", "--at-dimension", "8192"), "GiB of memory"),
        (
            ("--patches", "4", "1000", "--at-dimension", "8192", "--most", "2", "--test-images", "1"),
            "an fcn of 8,192,000,000 weights, trained on every core, takes about",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    flags, message, tmp_path, monkeypatch, capsys, without_type_checks
):
    monkeypatch.setattr(sample_complexity, "choose_threshold", None)  # long work would fail loudly
    monkeypatch.setattr(sys, "argv", ["sample_complexity", *flags, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stopped:
        cli.main(sample_complexity.Config, sample_complexity.run, prog="sample_complexity")
    assert stopped.value.code == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
