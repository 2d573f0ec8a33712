"""Whatever of a Ray cluster is lost, its cells go on from the checkpoints that have come back."""

import os
import secrets
import signal
import subprocess
import sys
import time

import pytest

from cnnjax.runs import read_metrics
from cnnjax.training import read_arrays
from tests.sweep import tiny_command

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own, at its start and at its end


@pytest.fixture
def cluster(monkeypatch):
    """Makes clusters whose head computes nothing, with as many other nodes as asked for, all in this machine."""
    utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: pip install -e '.[cluster]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    made = []

    def make(nodes=1):
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100_000_000}
        found = utils.Cluster(initialize_head=True, head_node_args=head)
        made.append(found)
        monkeypatch.setenv("RAY_ADDRESS", found.address)
        return found, [add(found) for _ in range(nodes)]

    yield make
    for each in made:
        each.shutdown()


def add(cluster):
    return cluster.add_node(num_cpus=1, object_store_memory=100_000_000)


def start(out):
    options = ["--out", str(out), "--engine", "ray", "--seconds", "0.1"]
    command = [sys.executable, "-m", "tests.sweep.tiny_command", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ})


def wait_for_state(driver, out, step=30):
    """Until the checkpoint of a step has come back: there is one after each third of the ninety."""
    file = out / "cells" / "only" / "state.safetensors"
    end = time.monotonic() + 120
    while not file.exists() or read_arrays(file)[0]["step"].tolist() != [step, step]:
        assert driver.poll() is None, driver.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.1)


def check(out, tmp_path):
    whole = tiny_command.run(tiny_command.Config(tmp_path / "whole"))
    for file in (whole / "cells" / "only").iterdir():
        assert (out / "cells" / "only" / file.name).read_bytes() == file.read_bytes()
    # A cell that begins anew logs its first steps again.
    logged = read_metrics(out)[["seed", "step"]].to_numpy().tolist()
    assert logged == [[0, 30], [1, 30], [0, 60], [1, 60], [0, 90], [1, 90]]


def test_a_cell_goes_on_where_its_node_is_lost(cluster, tmp_path):
    found, (node,) = cluster()
    out = tmp_path / "run"
    with start(out) as driver:
        wait_for_state(driver, out)
        add(found)
        found.remove_node(node, allow_graceful=False)
        _, said = driver.communicate(timeout=200)
    assert driver.returncode == 0, said
    assert "only was lost with its worker" in said
    check(out, tmp_path)


def test_a_cell_goes_on_where_the_head_or_the_driver_was_lost(cluster, tmp_path):
    out = tmp_path / "run"
    found, _ = cluster()
    with start(out) as driver:
        wait_for_state(driver, out)
        driver.send_signal(signal.SIGKILL)
    with start(out) as driver:
        wait_for_state(driver, out, 60)
        found.head_node.kill_gcs_server(check_alive=False)  # not the store beside it, with which Ray ends the driver
        _, said = driver.communicate(timeout=200)
    assert driver.returncode == 2, said
    assert said.splitlines()[-1].startswith("error: the Ray cluster was lost")
    assert said.splitlines()[-1].endswith("start it anew, and the same command goes on with what is missing.")
    assert "Traceback" not in said
    found.shutdown()
    cluster()
    with start(out) as driver:
        _, said = driver.communicate(timeout=200)
    assert driver.returncode == 0, said
    check(out, tmp_path)
