"""Several runs beside each other: named by what differs, and compared seed by seed."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cnnjax import InputError
from cnnjax.runs import compare_runs, compare_settings, open_run, run_labels
from cnnjax.runs.folder import Folder


@dataclasses.dataclass(frozen=True)
class Network:
    """A part of the settings."""

    name: str = "resnet"
    widths: tuple[int, ...] = (8, 16)


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of a run."""

    network: Network = Network()
    rate: float = 0.1
    seeds: int = 4


@pytest.fixture
def made(tmp_path):
    """Make a run of some settings, scores by cell and seed, and images; return its directory."""

    def make(name, config, scores, images="abc", experiment="depth"):
        with open_run(experiment, config, out=tmp_path / name) as run:
            rows = [
                {"cell": cell, "seed": seed, "accuracy": value}
                for cell, values in scores.items()
                for seed, value in enumerate(values)
            ]
            run.write_table("summary", pd.DataFrame(rows))
            Folder(run.path, run.identity).save_json("data.json", {"images": images})
            return run.path

    return make


SCORES = {"plain": (0.5, 0.6, 0.7, 0.8), "residual": (0.9, 0.8, 0.9, 0.7)}


def test_a_run_is_called_by_what_tells_it_from_the_others(made):
    first = made("a", Config(), SCORES)
    second = made("b", Config(Network(widths=(8,)), rate=0.2), SCORES)
    assert run_labels([first, second]) == ["widths=8 16, rate=0.1", "widths=8, rate=0.2"]
    table = compare_settings([first, second])
    assert table["setting"].tolist() == ["network.widths", "rate"]
    assert table["widths=8, rate=0.2"].tolist() == ["8", "0.2"]


def test_runs_that_are_alike_are_called_by_their_folders(made):
    runs = [made("a", Config(), SCORES), made("b", Config(), SCORES)]
    assert run_labels(runs) == ["a", "b"]
    assert compare_settings(runs).empty


def test_runs_of_other_experiments_are_called_by_these(made):
    runs = [made("a", Config(), SCORES), made("b", Config(), SCORES, experiment="stride")]
    assert run_labels(runs) == ["depth", "stride"]
    runs = [made("c", Config(rate=0.2), SCORES, experiment="stride"), *runs]
    assert run_labels(runs) == ["stride, rate=0.2", "depth", "stride, rate=0.1"]


def test_of_runs_of_two_versions_what_both_have_comes_first(made):
    runs = [made("a", Config(), SCORES), made("b", Config(rate=0.2), SCORES)]
    document = json.loads((runs[1] / "config.json").read_text())
    del document["config"]["network"]
    (runs[1] / "config.json").write_text(json.dumps(document))
    assert run_labels(runs) == ["rate=0.1, name=resnet, widths=8 16", "rate=0.2"]


def test_a_difference_is_that_of_the_same_seeds(made):
    other = {"plain": (0.6, 0.8, 0.7, 0.9), "residual": (0.8, 0.9, 0.8)}  # of three seeds
    table = compare_runs([made("a", Config(), SCORES), made("b", Config(rate=1.0), other)])
    for (_, row), cell in zip(table.iterrows(), SCORES, strict=True):
        shared = min(len(SCORES[cell]), len(other[cell]))
        mine, theirs = np.array(other[cell][:shared]), np.array(SCORES[cell][:shared])
        expected = stats.ttest_rel(mine, theirs)
        interval = expected.confidence_interval(0.95)
        assert (row["cell"], row["against"], row["n"]) == (f"rate=1: {cell}", f"rate=0.1: {cell}", shared)
        np.testing.assert_allclose(row["difference"], (mine - theirs).mean())
        np.testing.assert_allclose(row["p"], expected.pvalue)
        np.testing.assert_allclose((row["low"], row["high"]), interval)


def test_single_cells_are_compared_whatever_they_are_called(made):
    runs = [made("a", Config(), {"old": (0.1, 0.2)}), made("b", Config(rate=1.0), {"new": (0.2, 0.4)})]
    (row,) = compare_runs(runs).to_dict("records")
    np.testing.assert_allclose(row["difference"], 0.15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": "other"}, "is of other images than"),
        ({"scores": {"new": (0.1, 0.2), "newer": (0.1, 0.2)}}, "have no cell in common"),
    ],
)
def test_what_has_no_pairs_is_not_compared(made, change, message):
    runs = [made("a", Config(), SCORES), made("b", Config(rate=1.0), **{"scores": SCORES, **change})]
    with pytest.raises(InputError, match=message):
        compare_runs(runs)


def test_one_run_is_not_compared(made):
    with pytest.raises(InputError, match="name 1 run: give two"):
        compare_settings([made("a", Config(), SCORES)])


def test_a_score_that_one_lacks_is_named(made):
    runs = [made("a", Config(), SCORES), made("b", Config(rate=1.0), SCORES)]
    with pytest.raises(InputError, match=r"do not share the score loss: they share accuracy"):
        compare_runs(runs, ["loss"])
