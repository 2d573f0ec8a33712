"""The measures experiment: what is said to be true of every function, ranks, and a run end to end at toy size."""

import dataclasses
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cnnjax import InputError, analysis
from cnnjax.runs import cli
from experiments import measures
from experiments.measures import filters, images, ranks, readout
from experiments.measures.families import FAMILIES, orbit, stacked
from experiments.measures.functions import FUNCTIONS
from tests.repeats import repeated

SIDE = 20
TINY = measures.Config(
    functions=("low pass", "directed band pass", "constant"),
    families=("quarter turn", "reflection"),
    canvases=(SIDE,),
    images=16,
    groups=2,
)
MOVES = {
    "shift": lambda a: np.roll(a, (1, 1), (1, 2)),
    "quarter turn": lambda a: np.rot90(a, axes=(1, 2)),
    "reflection": lambda a: a[:, :, ::-1],
}
"""Those of NumPy, which only move pixels."""


@pytest.mark.parametrize("name", repeated(FUNCTIONS, quick=9))
def test_what_moves_pixels_only_is_exact_where_it_is_said_to_be(name):
    x = np.random.default_rng(0).uniform(0.5, 1.5, (2, SIDE, SIDE, 1)).astype(np.float32)
    f = FUNCTIONS[name].bound(0, SIDE)
    moved = [x, *(move(x) for move in MOVES.values())]
    before, *after = np.split(np.asarray(jax.jit(f)(jnp.asarray(np.concatenate(moved)))), len(moved))
    for (family, move), found in zip(MOVES.items(), after, strict=True):
        expected = move(before)
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert error < 1e-5 if FUNCTIONS[name].truth[family] == "exact" else error > 1e-2, family


def test_slopes_turn_into_each_other():
    kernel = filters.slopes()[:, :, 0]
    down, right = kernel[..., 0], kernel[..., 1]
    np.testing.assert_allclose(np.rot90(right), -down, atol=1e-15)
    np.testing.assert_allclose(right[:, ::-1], -right, atol=1e-15)


def test_round_filters_do_not_turn_and_have_the_spectrum_of_their_names():
    frequency = np.fft.fftfreq(64)
    radius = np.hypot(frequency[:, None], frequency[None])
    for make, passed in ((filters.low_pass, 0.0), (filters.band_pass, 0.12), (filters.high_pass, 0.5)):
        spectrum = np.abs(np.fft.fft2(make()[:, :, 0, 0], (64, 64)))
        strongest = radius[np.unravel_index(spectrum.argmax(), spectrum.shape)]
        assert abs(strongest - passed) < 0.05 or (passed == 0.5 and strongest >= 0.4)
        # Along a ring it is the same in every direction.
        for r in (0.1, 0.2):
            ring = spectrum[(abs(radius - r) < 0.002)]
            assert ring.std() < 0.05 * spectrum.max()


def test_pictures_are_the_same_on_every_canvas_and_away_from_its_border():
    small, labels = images.draw(8, 20, seed=3, part=1)
    large, again = images.draw(8, 80, seed=3, part=1)
    np.testing.assert_array_equal(small, large[:, 30:50, 30:50])
    np.testing.assert_array_equal(labels, again)
    assert np.abs(large[:, :20]).max() < 1e-4
    other, _ = images.draw(8, 20, seed=3, part=0)
    assert np.abs(other - small).max() > 0.1


def test_an_orbit_has_the_members_of_its_family():
    x, _ = images.draw(2, SIDE, seed=0, part=1)
    for family, slots in stacked(x).items():
        over = orbit(family)
        np.testing.assert_array_equal(over.apply(slots, over.identity), x)
        for parameter, member in zip(over.parameters, FAMILIES[family].members, strict=True):
            np.testing.assert_allclose(over.apply(slots, parameter), member(jnp.asarray(x)), atol=1e-6)


def test_moments_are_means_of_powers_and_do_not_see_where_a_map_is():
    maps = np.random.default_rng(1).normal(size=(3, 6, 6, 2)).astype(np.float32)
    expected = np.concatenate([(maps.astype(float) ** power).mean((1, 2)) for power in (1, 2, 3, 4)], 1)
    np.testing.assert_allclose(readout.features(jnp.asarray(maps)), expected, rtol=1e-4, atol=1e-6)


def test_the_readout_learns_the_classes():
    x, labels = images.draw(80, SIDE, seed=0, part=0)
    new, truth = images.draw(40, SIDE, seed=0, part=1)
    _, logits = readout.fitted(FUNCTIONS["square"].bound(0, SIDE), x, labels, images.CLASSES)
    assert (np.asarray(logits(new)).argmax(1) == truth).mean() > 0.5  # a quarter by chance


def test_a_moment_that_is_rounding_is_left_out():
    x, labels = images.draw(40, SIDE, seed=0, part=0)
    standard, _ = readout.fitted(FUNCTIONS["band pass"].bound(0, SIDE), x, labels, images.CLASSES)
    still, moved = (np.asarray(standard(a)) for a in (jnp.asarray(x), jnp.roll(x, 3, 2)))
    # A zero-sum filter has no mean; the other moments stay when the image goes round.
    assert (still[:, 0] == 0).all()
    np.testing.assert_allclose(moved, still, atol=1e-3)


def test_the_share_of_pairs_is_the_area_under_the_curve():
    rng = np.random.default_rng(0)
    exact, other = np.round(rng.normal(size=7), 1), np.round(rng.normal(0.5, 1, 9), 1)  # with ties
    expected = roc_auc_score([0] * 7 + [1] * 9, np.concatenate([exact, other]))
    assert ranks.auc(exact, other) == pytest.approx(expected)
    assert ranks.margin(np.array([0.1, 1.0]), np.array([100.0, 10.0])) == pytest.approx(1)


def test_what_mixes_channels_is_exact_for_fitted_maps_only():
    assert ranks.is_exact("slopes", "rotation", "linear map") is True
    assert ranks.is_exact("slopes", "rotation", "error") is False
    assert ranks.is_exact("network", "half pixel", "error") is None
    assert ranks.is_exact("constant", "shift", "error") is None


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return measures.run(dataclasses.replace(TINY, out=tmp_path_factory.mktemp("whole") / "run"))


def test_a_run_ranks_the_filters_and_sees_through_the_constant(whole):
    table = pd.read_csv(whole / "ranks.csv").set_index(["family", "measure"])
    error = table.loc[("quarter turn", "error")]
    assert (error["auc"], error["exact"], error["other"]) == (1, 1, 1)
    assert error["margin"] > 4
    # A reflection has no generator.
    assert ("quarter turn", "Lie") in table.index
    assert ("reflection", "Lie") not in table.index
    values = pd.read_csv(whole / "summary.csv").set_index(["function", "family", "measure"])["value"]
    assert (values.loc["constant", "reflection", "error"] == 0).all()
    assert (values.loc["constant", "quarter turn", "variation"] == 0).all()
    assert values.loc["constant", "reflection", "variance"].isna().all()
    assert values.loc["constant", "reflection", "1 − CKA"].isna().all()


def test_values_are_those_of_the_library(whole):
    values = pd.read_csv(whole / "summary.csv").set_index(["function", "family", "measure", "group"])["value"]
    x, _ = images.draw(16, SIDE, seed=0, part=1)
    f = FUNCTIONS["directed band pass"].bound(0, SIDE)
    for group in (0, 1):
        part = x[8 * group : 8 * group + 8]
        found = values.loc["directed band pass", "quarter turn", "error", group]
        assert found == pytest.approx(analysis.equivariance_error(f, part, analysis.Rotation(90)), rel=1e-5)


@pytest.mark.slow
def test_a_run_that_lost_a_cell_ends_the_same(whole, tmp_path):
    expected = {name: (whole / name).read_bytes() for name in ("summary.csv", "ranks.csv", "tables.json")}
    kept = whole / "cells" / f"canvas={SIDE},function=low_pass" / "values.json"
    kept.unlink()
    measures.run(dataclasses.replace(TINY, out=whole))
    assert {name: (whole / name).read_bytes() for name in expected} == expected
    titles = [table["title"] for table in json.loads((whole / "tables.json").read_text())["tables"]]
    assert titles[0] == "What is true"
    assert titles[-1] == "Which measure when"
    assert {path.name for path in (whole / "figures").iterdir()} == {"ranks.png", "quarter_turn.png", "reflection.png"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"functions": ("low pas",)}, "functions='low pas' is unknown.*perhaps you meant low pass"),
        ({"functions": ()}, "functions is empty"),
        ({"families": ()}, "families is empty: name at least one of shift"),
        ({"canvases": (24, 24)}, "canvases=.* has one more than once"),
        ({"canvases": (25,)}, "canvases=25 must be even"),
        ({"canvases": (12,)}, "at least 20 pixels"),
        ({"images": 20, "groups": 3}, "images=20 in groups=3: give 2 groups or more"),
        ({"images": 8, "groups": 2}, "at least 8 images in each"),
        ({"images": 0}, "images=0 must be at least 1"),
        ({"images": 10**8}, "images=100000000 of 20×20 pixels, moved, takes about .* GiB"),
    ],
)
@pytest.mark.usefixtures("without_type_checks")
def test_options_that_make_no_sense(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        measures.run(dataclasses.replace(TINY, **changes, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_where_nothing_can_be_ranked_the_rest_is_told(tmp_path):
    alone = dataclasses.replace(TINY, functions=("constant",), families=("reflection",), out=tmp_path / "run")
    text = (measures.run(alone) / "table.md").read_text()
    assert "What is true" in text
    assert "Which measure when" not in text


@pytest.mark.slow
def test_the_command_ends_with_the_directory(tmp_path, monkeypatch, capsys):
    flags = ["--functions", "square", "vignette", "--families", "shift", "--images", "16", "--groups", "2"]
    out = tmp_path / "run"
    monkeypatch.setattr(sys, "argv", ["measures", *flags, "--canvases", "20", "--out", str(out)])
    cli.main(measures.Config, measures.run, prog="measures")
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
