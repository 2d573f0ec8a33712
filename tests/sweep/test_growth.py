"""A run that grows keeps what stands, and comes to the files of a run that was made as large at once."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.analysis import NotFiniteError
from cnnjax.runs import Progress, open_run, read_metrics, read_summary
from cnnjax.sweep import cell, cells, write_scores
from cnnjax.training import checkpoint, kept_states, read_arrays
from tests.repeats import repeated
from tests.sweep import tiny_sweep
from tests.sweep.tiny_sweep import plan

DATA = tiny_sweep.dataset()
PLANS = [plan("slow", snapshots=(0, 1)), plan("fast", 0.1)]


def swept(path, plans, seeds, **options):
    names = [one.name for one in plans]
    with (
        open_run("sweep", {"seeds": seeds, "cells": names}, out=path, grows=("seeds", "cells")) as run,
        Progress(2 * len(plans)) as progress,
    ):
        found = cells.sweep(run, plans, DATA, seeds=seeds, progress=progress, **options)
        write_scores(found)
        for name in found.predictions:
            run.once(name, "counted.json", lambda: seeds, progress=progress)
        return found


def files(path):
    """What a run keeps, but for where and when it was made."""
    kept = [*filter(Path.is_file, (path / "cells").rglob("*.*")), *path.glob("*.csv"), path / "data.json"]
    return {str(file.relative_to(path)): file.read_bytes() for file in kept}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Both cells with three seeds at once."""
    path = tmp_path_factory.mktemp("whole") / "run"
    swept(path, PLANS, 3)
    return path


@pytest.fixture(scope="module")
def smaller(tmp_path_factory):
    """The first cell with two seeds."""
    path = tmp_path_factory.mktemp("smaller") / "run"
    swept(path, PLANS[:1], 2)
    return path


@pytest.fixture
def small(smaller, tmp_path):
    return shutil.copytree(smaller, tmp_path / "run")


def test_more_seeds_and_a_further_cell_are_trained_and_what_stands_is_not(whole, small):
    swept(small, PLANS, 3)
    assert files(small) == files(whole)
    trained = read_metrics(small).dropna(subset=["step"])
    assert not trained.duplicated(["cell", "seed", "step"]).any()
    seeds = trained.groupby("cell")["seed"].unique()
    assert list(seeds["slow"]) == list(seeds["fast"]) == [0, 1, 2]


def test_what_others_have_put_beside_a_cells_files_stays(whole, small):
    others = {"notes.txt": b"mine", "own.safetensors": b"mine", "own.json": b"{}", "more.txt": b"mine"}
    for name, content in others.items():
        (small / "cells" / "slow" / name).write_bytes(content)
    (small / "cells" / "slow" / "figures.json").mkdir()
    swept(small, PLANS, 3)
    found = files(small)
    (small / "cells" / "slow" / "figures.json").rmdir()
    for name, content in others.items():
        assert found.pop(f"cells/slow/{name}") == content
    assert found == files(whole)


class Killed(BaseException):
    """What no code here handles."""


def killed(path, plans, seeds, number, *, before):
    """Sweep until the `number`-th file of arrays is there, or would be; whether that file came."""
    count, real = iter(range(1, 1000)), checkpoint.write_tree

    def write_tree(*arguments, **options):
        now = next(count)
        if before and now == number:
            raise Killed
        real(*arguments, **options)
        if now == number:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        for module in (checkpoint, kept_states):
            patch.setattr(module, "write_tree", write_tree)
        try:
            swept(path, plans, seeds)
        except Killed:
            return True
    return False


# Beside the seed that is new: its snapshots and states, of which some are joined; then the weights, then the answers.
@pytest.mark.parametrize("number", repeated([6, 4, *(n for n in range(1, 13) if n not in (4, 6))], quick=2))
def test_killed_at_any_file_it_goes_on_to_the_same_files(whole, small, number):
    for before in (True, False):
        path = shutil.copytree(small, small.with_name(f"{before}"))
        assert killed(path, PLANS, 3, number, before=before)
        swept(path, PLANS, 3)
        assert files(path) == files(whole)
        metrics = read_metrics(path, keys=("cell", "seed", "step")).dropna(subset=["step"])
        assert len(metrics) == 2 * 3 * 2  # cells, seeds, epochs


@pytest.mark.parametrize("number", repeated([2, 4, 1, 3], quick=2))
def test_what_was_begun_with_fewer_seeds_is_finished_first(whole, tmp_path, number):
    assert killed(tmp_path / "run", PLANS[:1], 1, number, before=False)
    swept(tmp_path / "run", PLANS, 3)
    assert files(tmp_path / "run") == files(whole)


def test_from_another_first_seed_networks_are_those_of_these_seeds(whole, tmp_path):
    found = swept(tmp_path / "run", PLANS[1:], 2, first_seed=1)
    weights, all_weights = (read_arrays(run / "cells/fast/weights.safetensors")[0] for run in (tmp_path / "run", whole))
    for name, values in weights.items():
        np.testing.assert_array_equal(values, all_weights[name][1:])
    summary, expected = read_summary(tmp_path / "run"), read_summary(whole).query("cell == 'fast' and seed > 0")
    assert summary.to_dict("records") == expected.to_dict("records")
    assert [*found.numbers] == [1, 2]


def test_a_cell_whose_new_networks_cannot_be_measured_has_failed_and_keeps_the_others(small, monkeypatch):
    def measure(*arguments, **options):
        raise NotFiniteError("the answers are not finite")

    kept = (small / "cells/slow/predictions.safetensors").read_bytes()
    monkeypatch.setattr(cell, "measure", measure)
    for _ in range(2):  # not tried again
        with pytest.raises(InputError, match=r"every cell failed.*the answers are not finite"):
            swept(small, PLANS[:1], 3)
        monkeypatch.undo()
    assert (small / "cells/slow/predictions.safetensors").read_bytes() == kept


def test_a_cell_that_failed_is_tried_again_with_more_seeds_only(tmp_path, monkeypatch):
    plans = [PLANS[1], plan("hot", 1e30, snapshots=(0,))]
    swept(tmp_path / "whole", plans, 2)
    grown = tmp_path / "grown"
    swept(grown, plans, 1)
    with monkeypatch.context() as patch:
        patch.setattr(cell, "train_together", None)
        assert "seed 0" in swept(grown, plans, 1).outcomes["hot"].failure
    swept(grown, plans, 2)
    assert files(grown) == files(tmp_path / "whole")


def test_fewer_seeds_are_refused_in_one_sentence(small):
    with pytest.raises(InputError, match=r"has more: seeds was 2, is 1\. It grows but does not shrink: give those, or"):
        swept(small, PLANS[:1], 1)
