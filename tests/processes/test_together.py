"""Several processes train one network as one process does, and one of them writes."""

import numpy as np
import pytest

from cnnjax import runtime
from cnnjax.runs import read_metrics
from cnnjax.sweep.cell import WEIGHTS
from cnnjax.training import read_arrays
from tests.processes import tiny
from tests.processes.launch import Processes


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process."""
    runtime.configure()
    return tiny.run(tiny.Config(tmp_path_factory.mktemp("alone") / "run"))


def assert_same_run(path, reference):
    for cell in ("first", "second"):
        arrays, expected = (read_arrays(run / "cells" / cell / WEIGHTS)[0] for run in (path, reference))
        assert arrays.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(arrays[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
        assert not (path / "cells" / cell / "state.safetensors").exists()
    losses, expected = (
        read_metrics(run, keys=("cell", "seed", "step")).query("loss == loss").sort_values(["cell", "seed", "step"])
        for run in (path, reference)
    )
    np.testing.assert_allclose(losses.loss, expected.loss, rtol=1e-5)
    assert sorted(file.name for file in path.iterdir()) == sorted(file.name for file in reference.iterdir())


def test_two_processes_train_as_one_does_and_one_writes(alone, tmp_path):
    with Processes(2, "--out", tmp_path / "run") as processes:
        (status, output, errors), (other_status, *others) = processes.ended()
    assert (status, other_status) == (0, 0), errors + others[1]
    assert_same_run(tmp_path / "run", alone)
    assert "both cells are finished" in output
    assert "[2/2] second" in errors
    assert others == ["", ""]


@pytest.mark.slow
def test_two_processes_let_a_run_grow_as_one_does(alone, tmp_path):
    tiny.run(tiny.Config(tmp_path / "run", seeds=1))
    with Processes(2, "--out", tmp_path / "run", "--seeds", "2") as processes:
        found = processes.ended()
    assert [status for status, _, _ in found] == [0, 0], found
    assert_same_run(tmp_path / "run", alone)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "devices"), [(4, 1), (2, 2)])
def test_more_processes_and_devices_train_as_one_does(alone, tmp_path, count, devices):
    options = ["--train.devices", count * devices] if devices > 1 else []
    with Processes(count, "--out", tmp_path / "run", *options, devices=devices) as processes:
        found = processes.ended()
    assert [status for status, _, _ in found] == [0] * count, found
    assert_same_run(tmp_path / "run", alone)
