"""What a run keeps is found again, and what is damaged, another's or in its place is named and refused."""

import dataclasses
import shutil

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from cnnjax import InputError
from cnnjax.runs import Progress, open_run
from cnnjax.runs.folder import Folder
from cnnjax.sweep import cells, kept
from cnnjax.sweep.cell import STATE
from cnnjax.training import init_states
from tests.sweep import tiny_sweep
from tests.sweep.tiny_sweep import plan

DATA = tiny_sweep.dataset()
PLANS = [plan("slow"), plan("fast", 0.1)]


def swept(path, *, seeds=2, data=DATA):
    with open_run("sweep", {"seeds": seeds}, out=path) as run, Progress(len(PLANS)) as progress:
        return cells.sweep(run, PLANS, data, seeds=seeds, progress=progress).outcomes


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    return path, swept(path)


@pytest.fixture
def finished(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "run")


def test_files_of_two_cells_exchanged_are_refused(finished):
    one, other = (finished / "cells" / name / "predictions.safetensors" for name in ("slow", "fast"))
    both = one.read_bytes(), other.read_bytes()
    one.write_bytes(both[1])
    other.write_bytes(both[0])
    with pytest.raises(InputError, match=r"slow/predictions\.safetensors is not of .*/slow/predictions.* delete it"):
        swept(finished)


def test_weights_of_another_cell_or_another_run_are_refused(finished, tmp_path):
    swept(tmp_path / "other", seeds=1)
    for source in (finished / "cells" / "fast", tmp_path / "other" / "cells" / "slow"):
        shutil.copy(source / "weights.safetensors", finished / "cells" / "slow" / "weights.safetensors")
        (finished / "cells" / "slow" / "predictions.safetensors").unlink(missing_ok=True)
        with pytest.raises(InputError, match=r"slow/weights\.safetensors is not of .* delete the folder"):
            swept(finished)


def test_the_remedy_gives_the_same_bytes(whole, finished):
    for name, what in (("predictions.safetensors", "cell"), ("weights.safetensors", "folder")):
        damaged = finished / "cells" / "slow" / name
        content = bytearray(damaged.read_bytes())
        content[-1] ^= 1
        damaged.write_bytes(content)
        if what == "folder":
            (damaged.parent / "predictions.safetensors").unlink()
        with pytest.raises(InputError, match=rf"{name} cannot be read .*does not match its digest"):
            swept(finished)
        shutil.rmtree(damaged.parent) if what == "folder" else damaged.unlink()
        swept(finished)
        for file in (whole[0] / "cells" / "slow").iterdir():
            assert (damaged.parent / file.name).read_bytes() == file.read_bytes()


def test_classes_that_do_not_exist_are_refused(finished):
    with open_run("sweep", {"seeds": 2}, out=finished) as run:
        run.cell("slow").save("predictions.safetensors", {"test/classes": np.full((2, 12), 3, np.uint16)})
    with pytest.raises(InputError, match=r"predictions\.safetensors does not hold the answers of 2 networks among 3"):
        swept(finished)


@pytest.mark.parametrize("step", [-4, 7, 2**31 - 1])
def test_a_state_of_no_step_of_the_training_is_refused(finished, step):
    weights = finished / "cells" / "slow" / "weights.safetensors"
    with open_run("sweep", {"seeds": 2}, out=finished) as run:
        folder = run.cell("slow")
        states = init_states(PLANS[0].spec, range(2), DATA.train.images.shape[1:])
        folder.save(STATE, dataclasses.replace(states, step=np.full(2, step, np.int32)))
    weights.unlink()
    (weights.parent / "predictions.safetensors").unlink()
    with pytest.raises(InputError, match=rf"state\.safetensors is at the steps \[{step}\] of a training of 6: delete"):
        swept(finished)


def test_tensors_of_another_writer_are_refused(finished):
    file = finished / "cells" / "slow" / "predictions.safetensors"
    save_file({"test/classes": np.zeros((2, 12), np.uint16)}, file)
    with pytest.raises(InputError, match=r"predictions\.safetensors cannot be read .*not a file of this version"):
        swept(finished)


def test_a_state_that_a_kill_left_beside_the_weights_is_removed(whole, finished):
    for name, unfinished in (("slow", True), ("fast", False)):
        folder = finished / "cells" / name
        (folder / STATE).write_bytes(b"left by a kill")
        if unfinished:
            (folder / "predictions.safetensors").unlink()
    outcomes = swept(finished)
    assert not list(finished.glob("cells/*/state.safetensors"))
    for name, outcome in outcomes.items():
        assert outcome.predictions is not None
        np.testing.assert_array_equal(outcome.predictions["test/classes"], whole[1][name].predictions["test/classes"])


@pytest.mark.parametrize("content", [b"", b"\xff\xfe{}", b'{"value": {"na', b"[" * 100_000, b"3", b"null"])
def test_a_damaged_note_of_the_images_is_not_taken_for_other_images(finished, content):
    (finished / "data.json").write_bytes(content)
    with pytest.raises(InputError, match=r"data\.json (is corrupt|cannot be read).*if the images of noise are still"):
        swept(finished)
    (finished / "data.json").unlink()
    (finished / "data.json").mkdir()
    with pytest.raises(InputError, match=r"data\.json cannot be read \(it is not a file"):
        swept(finished)


def test_other_images_are_refused(finished):
    other = tiny_sweep.dataset()
    other.train.images[0, 0, 0, 0] ^= 1
    with pytest.raises(InputError, match="images of noise are not those that"):
        swept(finished, data=other)


def test_the_mark_does_not_depend_on_where_a_run_lies(whole):
    with safe_open(whole[0] / "cells" / "slow" / "weights.safetensors", framework="numpy") as file:
        assert str(whole[0]) not in file.metadata()["about"]


def test_a_failure_is_the_end_of_as_many_networks_and_of_this_version(tmp_path):
    folder = Folder(tmp_path, "run/cell")
    folder.save_json(kept.FAILURE, "diverged")  # of a version that did not note how many networks it had
    assert kept.outcome(folder, networks=2, classes=10) is None
    kept.fail(folder, "diverged", networks=2)
    assert kept.outcome(folder, networks=2, classes=10).failure == "diverged"
    assert kept.outcome(folder, networks=3, classes=10) is None
