"""Training end to end: it learns, resumes to the same bits, compiles once, and stops where a loss is not finite."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.data import Augmentation
from cnnjax.training import (
    DivergedError,
    TrainConfig,
    init_states,
    kept_states,
    load_tree,
    loop,
    read_arrays,
    save_tree,
    train,
)
from tests.repeats import repeated
from tests.training.conftest import assert_equal

CONFIG = TrainConfig(epochs=4, batch_size=30, learning_rate=0.05)


def test_it_learns_an_easy_problem(problem, spec):
    records = []
    config = dataclasses.replace(CONFIG, epochs=15)
    train(spec, config, *problem, Augmentation().as_arrays(), seeds=[0, 1], log=lambda **record: records.append(record))
    last = [record for record in records if record["epoch"] == 15]
    assert [record["seed"] for record in last] == [0, 1]
    assert all(record["accuracy"] == 1.0 and record["loss"] < records[0]["loss"] for record in last)


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


@pytest.mark.parametrize("after", repeated([3, 1, 6]))
def test_a_killed_training_ends_with_the_same_bits(problem, spec, strengths, tmp_path, monkeypatch, after):
    monkeypatch.setattr(loop, "CHUNK", 2)  # chunks of 2 and 1 steps: checkpoints inside epochs too
    whole = train(spec, CONFIG, *problem, strengths, seeds=[3, 5])
    checkpoint = tmp_path / "state.safetensors"
    logged = []

    def log(**record):
        logged.append(record)
        if len(logged) == 2 * after:
            raise Killed

    with pytest.raises(Killed):
        train(spec, CONFIG, *problem, strengths, seeds=[3, 5], checkpoint=checkpoint, log=log)
    seen = []
    resumed = train(
        spec, CONFIG, *problem, strengths, seeds=[3, 5], checkpoint=checkpoint, log=lambda **r: seen.append(r)
    )
    assert_equal(whole, resumed)
    # The chunk whose checkpoint was not written is trained again, and nothing before it.
    assert seen[0]["step"] == logged[-1]["step"]


def test_snapshots_are_the_networks_at_their_epochs_through_a_kill(problem, spec, strengths, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHUNK", 2)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    epochs = (0, 1, 3, 4)

    def files(name):
        return {epoch: tmp_path / name / f"{epoch}.safetensors" for epoch in epochs}

    whole = train(spec, CONFIG, *problem, strengths, seeds=[3, 5], snapshots=files("a"))
    start = init_states(spec, [3, 5], problem[0].shape[1:]).variables
    kept = [load_tree(path, whole)[0] for path in files("a").values()]
    assert_equal(kept[0], start)
    assert_equal(kept[-1], whole)

    # Killed between a snapshot and its checkpoint, and after it.
    saved = []

    def killing(real):
        def save(path, *rest, **about):
            if len(saved) in (3, 9):
                saved.append(None)
                raise Killed
            saved.append(path)
            real(path, *rest, **about)

        return save

    monkeypatch.setattr(loop, "save_tree", killing(loop.save_tree))
    monkeypatch.setattr(kept_states, "write_tree", killing(kept_states.write_tree))
    options = dict(seeds=[3, 5], checkpoint=tmp_path / "state.safetensors", snapshots=files("b"))
    for _ in range(2):
        with pytest.raises(Killed):
            train(spec, CONFIG, *problem, strengths, **options)
    train(spec, CONFIG, *problem, strengths, **options)
    assert saved[2] == files("b")[1]
    for a, b in zip(files("a").values(), files("b").values(), strict=True):
        assert a.read_bytes() == b.read_bytes()

    with pytest.raises(InputError, match="a snapshot after epoch 5 of a training of 4: give epochs from 0 to 4"):
        train(spec, CONFIG, *problem, strengths, seeds=[3], snapshots={5: tmp_path / "late"})


def test_a_seed_trains_the_same_alone_and_in_company(problem, spec, strengths):
    together = train(spec, CONFIG, *problem, strengths, seeds=[3, 5])
    alone = train(spec, CONFIG, *problem, strengths, seeds=[5])
    assert_equal(jax.tree.map(lambda leaf: leaf[1], together), jax.tree.map(lambda leaf: leaf[0], alone))


def test_a_training_goes_on_from_a_state_that_is_given_to_it(problem, spec, strengths, tmp_path):
    whole = train(spec, CONFIG, *problem, strengths, seeds=[3, 5], checkpoint=tmp_path / "state")
    start = init_states(spec, [3, 5], problem[0].shape[1:])
    kept = jax.tree.map(np.array, start)
    assert_equal(train(spec, CONFIG, *problem, strengths, seeds=[3, 5], start=start), whole)
    assert_equal(start, kept)  # what was given is there still
    other = dataclasses.replace(start, variables=init_states(spec, [4, 5], problem[0].shape[1:]).variables)
    found = train(spec, CONFIG, *problem, strengths, seeds=[3, 5], start=other)
    same = [np.array_equal(a, b) for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(whole), strict=True)]
    assert not any(same)
    assert_equal(*(jax.tree.map(lambda leaf: leaf[1], one) for one in (found, whole)))
    # From its own end nothing is left to do.
    end, _ = load_tree(tmp_path / "state", start)
    assert_equal(train(spec, CONFIG, *problem, strengths, seeds=[3, 5], start=end), whole)


def test_states_for_other_seeds_are_refused(problem, spec, strengths):
    start = init_states(spec, [3, 5], problem[0].shape[1:])
    with pytest.raises(InputError, match=r"start has steps of shape \(2,\) for 1 seeds"):
        train(spec, CONFIG, *problem, strengths, seeds=[3], start=start)


def test_other_strengths_and_numbers_do_not_compile_again(problem, spec):
    compiled = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    train(spec, CONFIG, *problem, Augmentation().as_arrays(), seeds=[0])
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        other = dataclasses.replace(CONFIG, learning_rate=0.01, weight_decay=0.0, warmup=0.5, label_smoothing=0.1)
        train(spec, other, *problem, Augmentation(crop=2, rotation=90.0).as_arrays(), seeds=[0])
        assert compiled == []
        jax.jit(lambda x: x + 1)(np.float32(1))
        assert compiled != []  # the listener does hear compilations
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_loss_that_is_not_finite_names_the_seed_and_the_step(problem, spec):
    hot = dataclasses.replace(CONFIG, learning_rate=1e30)
    with pytest.raises(DivergedError, match=r"the loss of seed 7 is (nan|inf) at step \d+: lower the learning rate"):
        train(spec, hot, *problem, Augmentation().as_arrays(), seeds=[7])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(batch_size=0), "train.batch_size=0 must be at least 1"),
        (dict(epochs=0), "train.epochs=0 must be at least 1"),
        (dict(learning_rate=0.0), "train.learning_rate=0.0 must be positive"),
        (dict(weight_decay=-1.0), "train.weight_decay=-1.0 must not be negative"),
        (dict(warmup=1.0), "train.warmup=1.0 must lie in [0, 1)"),
        (dict(label_smoothing=-0.1), "train.label_smoothing=-0.1 must lie in [0, 1)"),
        (dict(drops=(0.75, 0.5)), "train.drops=(0.75, 0.5) must rise, each between 0 and 1"),
        (dict(drops=(0.5, 1.0)), "train.drops=(0.5, 1.0) must rise, each between 0 and 1"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(fields, message):
    with pytest.raises(InputError, match=re.escape(message)):
        TrainConfig(**fields)


def test_a_batch_larger_than_the_training_set_is_refused(problem, spec, strengths):
    with pytest.raises(InputError, match=r"train\.batch_size=91 is larger than the training set of 90 images"):
        train(spec, TrainConfig(batch_size=91), *problem, strengths, seeds=[0])


def test_a_tree_comes_back_as_it_was(tmp_path):
    # One array is a view whose memory is in another order.
    turned = np.arange(12, dtype=np.int32).reshape(3, 4).T[1:, ::2]
    tree = {"a": {"kernel": np.float32([[1, np.inf]])}, "b": (np.int32([3]), np.zeros((0, 2), np.float32)), "c": turned}
    save_tree(tmp_path / "t.safetensors", tree, note="x")
    back, about = load_tree(tmp_path / "t.safetensors", tree)
    assert_equal(tree, back)
    assert about == {"note": "x"}


def test_a_file_that_does_not_fit_lists_every_problem(tmp_path):
    save_tree(tmp_path / "t.safetensors", {"a": np.zeros(3, np.float32), "b": np.zeros(2, np.float32)})
    with pytest.raises(InputError) as error:
        load_tree(tmp_path / "t.safetensors", {"a": np.zeros(4, np.float32), "c": np.zeros(2, np.float32)})
    for part in ("missing c", "unexpected b", "a is float32[3], not float32[4]"):
        assert part in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"12345678{}", b"\x00" * 100])
def test_a_damaged_file_is_refused_by_name(tmp_path, content):
    (tmp_path / "t.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"t\.safetensors cannot be read"):
        read_arrays(tmp_path / "t.safetensors")
