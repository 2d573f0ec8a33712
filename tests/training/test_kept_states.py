"""A training goes on from the newest of its last two states that is whole, and from no one else's."""

import dataclasses
import os
import signal
import warnings

import flax.linen as nn
import numpy as np
import pytest

from cnnjax import InputError, models
from cnnjax.training import CheckpointWarning, TrainConfig, execution, init_states, loop, read_arrays, train
from cnnjax.training.kept_states import KeptStates, network_name, previous
from tests.training.conftest import assert_equal

CONFIG = TrainConfig(epochs=2, batch_size=10, learning_rate=0.05)  # nine steps an epoch


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


@pytest.fixture
def go(problem, spec, strengths, tmp_path, monkeypatch):
    """Trains two networks, in chunks of three steps, with their states kept in `tmp_path`."""
    monkeypatch.setattr(loop, "CHUNK", 3)

    def trained(**options):
        given = {"checkpoint": tmp_path / "state.safetensors", "seeds": [3, 5], **options}
        return train(given.pop("spec", spec), CONFIG, *problem, strengths, **given)

    return trained


@pytest.fixture(scope="module")
def whole(problem, spec, strengths):
    return train(spec, CONFIG, *problem, strengths, seeds=[3, 5])


@pytest.fixture
def killed(go, tmp_path):
    """The newest file of a training that was killed in its third chunk; it has kept steps 3 and 6."""

    def log(**record):
        if record["step"] == 9:
            raise Killed

    with pytest.raises(Killed):
        go(log=log)
    return tmp_path / "state.safetensors"


def steps(path):
    return read_arrays(path)[0]["step"].tolist()


def flip(content):
    return content[:-1] + bytes([content[-1] ^ 1])


def test_the_last_two_states_are_kept(killed):
    assert sorted(path.name for path in killed.parent.iterdir()) == ["state.previous.safetensors", "state.safetensors"]
    assert steps(killed) == [6, 6]
    assert steps(previous(killed)) == [3, 3]


def test_where_the_newest_is_damaged_the_one_before_is_taken_with_a_warning(killed, go, whole):
    content = killed.read_bytes()
    damaged = [flip(content), content[: len(content) // 2], b"", content.replace(b'\\"', b"\\!", 1)]
    before = previous(killed).read_bytes()
    for each in damaged:
        killed.write_bytes(each)
        previous(killed).write_bytes(before)
        seen = []

        def log(seen=seen, **record):
            seen.append(record["step"])
            raise Killed

        told = r"state\.safetensors (cannot be read|is corrupt) .* goes on from the one before it, from step 3"
        with pytest.warns(CheckpointWarning, match=told), pytest.raises(Killed):
            go(log=log)
        assert seen == [6]
        assert steps(killed) == [3, 3]  # in the place of the damaged one: the next to be kept does not replace it
    assert_equal(go(), whole)


def test_a_kill_between_the_two_files_costs_nothing(killed, go, whole):
    killed.replace(previous(killed))
    seen = []
    assert_equal(go(log=lambda **record: seen.append(record["step"])), whole)
    assert seen[0] == 9


def test_two_damaged_states_are_one_error_and_nothing_is_lost_silently(killed, go):
    both = [killed, previous(killed)]
    for file in both:
        file.write_bytes(flip(file.read_bytes()))
    content = [file.read_bytes() for file in both]
    with pytest.raises(
        InputError,
        match=r"/state\.safetensors cannot be read .*, and .*state\.previous\.safetensors, the one before it, is "
        r"damaged too: delete both to train again from the start",
    ):
        go()
    assert [file.read_bytes() for file in both] == content
    both[1].unlink()
    with pytest.raises(InputError, match=r"/state\.safetensors cannot be read .*delete it to train again from the"):
        go()


def test_states_of_another_network_are_refused_by_both_names(killed, go, spec):
    other = dataclasses.replace(spec, model=models.AllConv(num_classes=2, widths=(6,), depth=1, head_width=4))
    with pytest.raises(InputError) as refused:
        go(spec=other)
    said = str(refused.value)
    assert "is of the network AllConv(num_classes=2, widths=(4), depth=1, head_width=4)" in said
    assert "not of AllConv(num_classes=2, widths=(6), depth=1, head_width=4): name another file" in said
    # So is one whose arrays would fit.
    circular = dataclasses.replace(spec, model=dataclasses.replace(spec.model, padding="circular"))
    with pytest.raises(InputError, match="padding='circular'"):
        go(spec=circular)
    with pytest.raises(InputError, match=r"is of the seeds \[3, 5\], not of \[3, 6\]"):
        go(seeds=[3, 6])


def test_a_networks_name_is_the_same_in_every_process():
    model = models.MLP(num_classes=2, widths=(4, 5), activation=nn.silu)
    assert network_name(model) == "MLP(num_classes=2, widths=(4, 5), activation=silu)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_a_chunk_keeps_every_step_taken(go, whole, tmp_path, monkeypatch, number):
    class Ended(BaseException):
        pass

    def end(*_):
        raise Ended

    # One network after the other, one step in a call, and a signal in the second call of the second chunk.
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(execution, "_most_steps", lambda *_: 1)
    real, calls = execution._repeated, []

    def repeated(program, *rest, stop):
        def called(state, *others):
            calls.append(int(state.step))
            if calls[-1] == 4:
                os.kill(os.getpid(), number)
                assert stop.wait(60)
            return program(state, *others)

        return real(called, *rest, stop=stop)

    monkeypatch.setattr(execution, "_repeated", repeated)
    before = signal.signal(number, end)
    records = []
    try:
        with pytest.raises(Ended):
            go(log=lambda **record: records.append(record))
    finally:
        assert signal.signal(number, before) is end
    assert steps(tmp_path / "state.safetensors") == [5, 3]
    assert steps(previous(tmp_path / "state.safetensors")) == [3, 3]
    monkeypatch.undo()
    monkeypatch.setattr(loop, "CHUNK", 3)
    resumed = go(log=lambda **record: records.append(record))
    assert_equal(resumed, whole)
    # What is logged is what an undisturbed training logs.
    plain = []
    go(checkpoint=None, log=lambda **record: plain.append(record))
    assert [{**record, "seconds": 0} for record in records] == [{**record, "seconds": 0} for record in plain]


def test_a_training_that_ignores_a_signal_goes_on(go, whole):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert_equal(go(log=lambda **record: os.kill(os.getpid(), signal.SIGINT)), whole)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_clock_that_jumps_changes_nothing(go, whole, monkeypatch):
    import time

    for clock in ("time", "time_ns"):
        monkeypatch.setattr(time, clock, lambda: -1)
    assert_equal(go(), whole)


def test_a_state_of_eight_devices_is_read_on_one(spec, problem, tmp_path):
    import jax

    mesh = jax.make_mesh((len(jax.devices()),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    assert mesh.size > 1
    spec = dataclasses.replace(spec, model=models.AllConv(num_classes=2, widths=(8,), depth=1, head_width=8))
    states = init_states(spec, [3, 5], problem[0].shape[1:])

    def sharded(leaf):
        axis = next((axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0 and size), None)
        spec = [None] * leaf.ndim if axis is None else [None] * axis + ["data"]
        return jax.device_put(leaf, jax.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec)))

    kept = KeptStates(tmp_path / "state", "", network_name(spec.model), [3, 5])
    many = jax.tree.map(sharded, states)
    assert any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(many))
    kept.save(many)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = kept.load(states, last=18)
    assert found is not None
    assert_equal(found[0], states)
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(found[0]))
    np.testing.assert_array_equal(found[0].step, [0, 0])
