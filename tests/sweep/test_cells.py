"""A sweep computes each cell once, side by side where that pays, and comes to what each cell comes to alone."""

import dataclasses

import jax
import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.analysis import NotFiniteError
from cnnjax.runs import Progress, open_run, read_config
from cnnjax.sweep import cell, cells
from cnnjax.training import execution, read_arrays
from tests.sweep import tiny_sweep
from tests.sweep.tiny_sweep import plan

DATA = tiny_sweep.dataset()


def swept(path, plans, **options):
    with open_run("sweep", {}, out=path) as run, Progress(len(plans)) as progress:
        return cells.sweep(run, plans, DATA, seeds=2, progress=progress, **options).outcomes


def weights(path, name):
    return read_arrays(path / "cells" / name / "weights.safetensors")[0]


@pytest.fixture
def one_program(monkeypatch):
    """What an accelerator's backend would be told."""
    for module in (execution, cell):
        monkeypatch.setattr(module, "networks_at_once", lambda: 32)


PLANS = [
    plan("slow"),
    plan("other-program", snapshots=(0,), change=lambda dataset: dataset),
    plan("fast", 0.1, seeds=(7,)),
]


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    return path, swept(path, PLANS)


def test_side_by_side_they_come_to_the_same(one_by_one, one_program, tmp_path, capsys):
    path, expected = one_by_one
    outcomes = swept(tmp_path / "run", PLANS)
    assert "slow\n  trained in one program with fast\n" in capsys.readouterr().err
    assert list(outcomes) == ["slow", "other-program", "fast"]
    for name, outcome in outcomes.items():
        a, b = weights(tmp_path / "run", name), weights(path, name)
        assert a.keys() == b.keys()
        for leaf in a:
            np.testing.assert_allclose(a[leaf], b[leaf], atol=2e-4, rtol=1e-3)
        assert outcome.predictions["test/classes"].shape == expected[name].predictions["test/classes"].shape
    assert outcomes["fast"].predictions["test/classes"].shape == (1, 12)


def test_what_goes_side_by_side(one_program, monkeypatch):
    names = [[one.name for one in group] for group in cell.side_by_side(PLANS, DATA, range(2))]
    assert names == [["slow", "fast"], ["other-program"]]
    monkeypatch.setattr(cell, "networks_at_once", lambda: 4)
    many = [plan(f"{i}") for i in range(5)]
    assert [len(group) for group in cell.side_by_side(many, DATA, range(2))] == [2, 2, 1]
    monkeypatch.setattr(cell, "networks_at_once", lambda: 1)
    assert [len(group) for group in cell.side_by_side(many, DATA, range(2))] == [1] * 5


def test_too_large_side_by_side_they_go_in_parts(one_by_one, one_program, tmp_path, monkeypatch, capsys):
    real, sizes = cell.train_together, []

    def train_together(spec, trainings, *rest, **options):
        sizes.append(len(trainings))
        if len(trainings) > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 byte.")
        return real(spec, trainings, *rest, **options)

    monkeypatch.setattr(cell, "train_together", train_together)
    outcomes = swept(tmp_path / "run", [PLANS[0], plan("faster", 0.2)])
    assert sizes == [2, 1, 1]
    assert "in two parts" in capsys.readouterr().err
    assert [*outcomes] == ["slow", "faster"]
    for leaf, value in weights(tmp_path / "run", "slow").items():
        np.testing.assert_allclose(value, weights(one_by_one[0], "slow")[leaf], atol=2e-4, rtol=1e-3)


def test_one_that_fails_side_by_side_is_marked_alone(one_program, tmp_path):
    plans = [plan("good"), plan("hot", 1e30, seeds=(7,))]
    outcomes = swept(tmp_path / "run", plans)
    assert outcomes["good"].predictions is not None
    assert "the loss of seed" in outcomes["hot"].failure
    assert swept(tmp_path / "run", plans)["hot"] == outcomes["hot"]


def test_one_whose_answers_are_not_finite_is_marked_alone(tmp_path, monkeypatch):
    real, asked = cell.measure, []

    def measure(*args, **options):
        asked.append(args)
        if len(asked) == 1:
            raise NotFiniteError("classify gives logits that are not finite")
        return real(*args, **options)

    monkeypatch.setattr(cell, "measure", measure)
    plans = [plan("odd"), plan("good")]
    outcomes = swept(tmp_path / "run", plans)
    assert outcomes["odd"].failure == "classify gives logits that are not finite."
    assert outcomes["good"].predictions is not None
    assert swept(tmp_path / "run", plans)["odd"] == outcomes["odd"]


def test_a_cell_is_a_function_of_plan_and_data(one_by_one):
    path, _ = one_by_one
    of = f"{read_config(path)['identity']}/other-program"
    files, records = cell.compute(PLANS[1], DATA, None, range(2), {}, of=of)
    folder = path / "cells" / "other-program"
    assert files == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert "epoch0000.safetensors" in files
    assert [record["cell"] for record in records] == ["other-program"] * 4  # two seeds, two epochs
    # What was begun elsewhere is not computed again.
    weights = {"weights.safetensors": files["weights.safetensors"]}
    again, records = cell.compute(PLANS[1], DATA, None, range(2), weights, of=of)
    assert again["predictions.safetensors"] == files["predictions.safetensors"]
    assert records == []


def test_a_single_cell_that_diverges_is_an_error_that_says_what_to_do(tmp_path):
    hot = plan("hot", 1e30)
    with (
        open_run("sweep", {}, out=tmp_path / "run") as run,
        Progress(1) as progress,
        pytest.raises(InputError, match=r"nothing to look at: the loss of seed .* lower the learning rate"),
    ):
        cells.trained(run, hot, DATA, range(2), progress)


@pytest.mark.skipif(jax.device_count() < 8, reason="needs eight devices")
def test_devices_are_told_of_and_change_where_and_not_what(one_by_one, tmp_path, capsys):
    path, _ = one_by_one
    shared = dataclasses.replace(PLANS[0], train=dataclasses.replace(PLANS[0].train, devices=2))
    swept(tmp_path / "run", [shared])
    assert "slow\n  2 networks over 2 devices\n" in capsys.readouterr().err
    a, b = weights(tmp_path / "run", "slow"), weights(path, "slow")
    for leaf in a:
        np.testing.assert_allclose(a[leaf], b[leaf], atol=2e-4, rtol=1e-3)
    seven = dataclasses.replace(shared.train, devices=7)
    alone = dataclasses.replace(shared, name="alone", train=seven, seeds=(1,))
    with pytest.raises(InputError, match="cannot be shared evenly by 7 devices"):
        swept(tmp_path / "other", [PLANS[0], alone])
    assert not (tmp_path / "other").exists()
