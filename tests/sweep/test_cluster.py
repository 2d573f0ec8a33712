"""Cells on the workers of a Ray cluster: the same files, to the last bit, though a worker is lost on the way."""

import dataclasses
import functools
import importlib
import os
import pickle
import secrets
import signal
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import flax.linen as nn
import jax
import pytest

from cnnjax import InputError, models
from cnnjax.runs import Progress, open_run, read_metrics
from cnnjax.sweep import cells, cluster
from cnnjax.training import chunks, read_arrays
from experiments.augmentation import Config
from tests.repeats import repeated
from tests.sweep import tiny_sweep
from tests.sweep.tiny_sweep import plan

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, at its start and at its end

ABSENT = "Ray is not installed: pip install -e '.[cluster]'"
DATA = tiny_sweep.dataset()


@pytest.fixture(scope="module")
def ray():
    """A cluster of one worker at a time, in this machine."""
    found = pytest.importorskip("ray", reason=ABSENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # and none is written to the user's home
        found.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
        yield found
        found.shutdown()


def swept(path, plans, engine):
    with open_run("sweep", {"engine": engine}, out=path) as run, Progress(len(plans)) as progress:
        return cells.sweep(run, plans, DATA, seeds=2, progress=progress, engine=engine).outcomes


def lost_once(steps, state):
    """A change of the data that takes its worker with it before step 6, once the driver has written the state there.

    Each call of the training is noted in the file `steps`, by the step that it begins at.
    """

    def change(dataset):
        real = chunks.run_steps

        def run_steps(spec, states, *rest, **options):
            earlier = steps.read_text().split() if steps.exists() else []
            step = int(states.step[0])
            with steps.open("a") as file:
                print(step, file=file)
            if step == 6 and "6" not in earlier:
                while not state.exists() or read_arrays(state)[0]["step"][0] < 6:
                    time.sleep(0.05)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(spec, states, *rest, **options)

        chunks.run_steps = run_steps
        return dataset

    return change


def test_the_files_are_the_same_though_a_worker_is_lost(ray, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "KEEP_EVERY", 0.0)
    monkeypatch.setattr(cluster, "LOOK_EVERY", 0.1)
    first = dataclasses.replace(plan("first", snapshots=(1,)), train=dataclasses.replace(tiny_sweep.TRAIN, epochs=4))
    plans = [first, plan("second", 0.1, snapshots=(1,)), plan("hot", 1e30)]
    here = swept(tmp_path / "here", plans, "process")
    capsys.readouterr()
    steps, state = tmp_path / "steps", tmp_path / "there" / "cells" / "first" / "state.safetensors"
    plans[0] = dataclasses.replace(first, change=lost_once(steps, state))
    there = swept(tmp_path / "there", plans, "ray")
    # It went on from its checkpoint, not from its start.
    assert steps.read_text().split()[:5] == ["0", "3", "6", "6", "9"]
    assert [*there] == [*here]
    assert there["hot"].failure == here["hot"].failure != ""
    for name in here:
        mine, theirs = (
            {file.name: file.read_bytes() for file in (tmp_path / where / "cells" / name).iterdir()}
            for where in ("here", "there")
        )
        assert mine == theirs
    metrics = [
        read_metrics(tmp_path / where).drop(columns="seconds").sort_values(["cell", "step", "seed"])
        for where in ("here", "there")
    ]
    assert metrics[0].reset_index(drop=True).equals(metrics[1].reset_index(drop=True))
    said = capsys.readouterr().err
    assert "first was lost with its worker (WorkerCrashedError), and goes on with another" in said
    assert "cells for the Ray cluster: 3; its processors: 1, GPUs: 0" in said
    assert "[3/3]" in said
    # The other engine goes on with the run, and finds everything there.
    swept(tmp_path / "there", plans, "process")
    assert capsys.readouterr().err.count("finished earlier") == 3


def test_a_run_that_stands_here_grows_there_to_the_same_files(ray, tmp_path):
    def grown(path, seeds, engine):
        with open_run("sweep", {"seeds": seeds}, out=path, grows=("seeds",)) as run, Progress(1) as progress:
            one = plan("only", snapshots=(1,))
            cells.sweep(run, [one], DATA, seeds=seeds, progress=progress, engine=engine)
        return {file.name: file.read_bytes() for file in (path / "cells" / "only").iterdir()}

    grown(tmp_path / "there", 1, "process")
    assert grown(tmp_path / "there", 2, "ray") == grown(tmp_path / "here", 2, "process")


def test_functions_of_jax_arrive_as_themselves():
    pytest.importorskip("ray", reason=ABSENT)
    # By value they would be others, and neither a network's description nor its compiled step would be the same.
    one = dataclasses.replace(plan("one"), model=models.MLP(num_classes=3, widths=(8,), activation=nn.silu))
    assert pickle.loads(cluster.pickled(one)).model.activation is nn.silu
    assert hash(pickle.loads(cluster.pickled(one)).spec) == hash(one.spec)
    assert pickle.loads(cluster.pickled(one)).spec == one.spec
    double = pickle.loads(cluster.pickled(jax.jit(lambda x: 2 * x)))  # it has no name to be found by
    assert double(3) == 6


def test_the_code_of_the_plans_goes_with_them(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason=ABSENT)
    (tmp_path / "of_a_colleague.py").write_text("def change(dataset):\n    return dataset\n")
    monkeypatch.syspath_prepend(tmp_path)
    change = importlib.import_module("of_a_colleague").change
    library = str(Path(models.__file__).parents[1])
    assert cluster.code_of([plan("one")]) == [library]
    for found in (change, functools.partial(change), lambda dataset: change(dataset)):
        # The lambda is this test's, and so is its code.
        code = set(cluster.code_of([plan("one"), plan("other", change=found)]))
        assert code - {str(Path(__file__).parents[1])} == {library, str(tmp_path / "of_a_colleague.py")}


def test_a_worker_with_other_versions_is_refused(ray, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_versions", lambda: dict.fromkeys(cluster.SAME, "0.0"))
    with pytest.raises(InputError, match=r"a worker of the cluster has jax .*, not 0\.0"):
        swept(tmp_path / "run", [plan("only")], "ray")


@pytest.mark.parametrize("when", repeated(["wait", "get"]))
def test_a_cluster_that_is_lost_says_that_the_same_command_goes_on(ray, tmp_path, monkeypatch, when):
    def lost(*args, **options):
        raise {"wait": ray.exceptions.RaySystemError, "get": ray.exceptions.NodeDiedError}[when]("the node died")

    monkeypatch.setattr(ray, when, lost)
    with pytest.raises(
        InputError, match=r"the Ray cluster was lost \(.*\): start it anew, and the same command goes on"
    ):
        swept(tmp_path / "run", [plan("only")], "ray")
    monkeypatch.undo()
    assert swept(tmp_path / "run", [plan("only")], "ray")["only"].predictions is not None


@pytest.mark.parametrize("absent", [True, False])
def test_without_ray_or_a_cluster_it_says_what_to_do(tmp_path, monkeypatch, absent):
    if absent:
        monkeypatch.setitem(sys.modules, "ray", None)
    else:
        found = pytest.importorskip("ray", reason=ABSENT)
        monkeypatch.setattr(found, "is_initialized", lambda: False)

        def init(**options):
            assert options["address"] == "auto"
            raise ConnectionError("Could not find any running Ray instance.")

        monkeypatch.setattr(found, "init", init)
    remedy = r"pip install -e '\.\[cluster\]'" if absent else "any running Ray instance.*ray start --head"
    with pytest.raises(InputError, match=remedy):
        swept(tmp_path / "run", [plan("only")], "ray")
    assert not (tmp_path / "run").exists()


def test_where_it_is_computed_does_not_name_the_run(tmp_path):
    for engine in ("process", "ray"):
        with open_run("augmentation", Config(engine=engine), root=tmp_path):
            pass
    assert len(list((tmp_path / "augmentation").iterdir())) == 1


def test_a_head_that_does_not_answer_is_a_lost_cluster():
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        address = f"127.0.0.1:{head.getsockname()[1]}"
        ray = SimpleNamespace(get_runtime_context=lambda: SimpleNamespace(gcs_address=address))
        cluster._check_that_it_answers(ray)
    with pytest.raises(ConnectionError, match=f"the head at {address} does not answer"):
        cluster._check_that_it_answers(ray)
