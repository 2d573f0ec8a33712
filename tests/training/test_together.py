"""Trainings that differ in numbers alone go in one program, and come to what each comes to alone."""

import dataclasses

import jax
import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.data import Augmentation
from cnnjax.training import DivergedError, TrainConfig, Training, execution, loop, program_key, train, train_together
from tests.training.conftest import assert_equal

CONFIG = TrainConfig(epochs=2, batch_size=30, learning_rate=0.05)
OTHER = dataclasses.replace(CONFIG, learning_rate=0.1, weight_decay=0.01, label_smoothing=0.1, warmup=0.3)
NONE = Augmentation().as_arrays()


@pytest.fixture
def trainings(strengths):
    """Two that differ in every number, in their seeds, and in how many these are."""
    return [Training(CONFIG, strengths, [3, 5]), Training(OTHER, NONE, [4])]


@pytest.fixture(scope="module")
def alone(problem, spec, strengths):
    """The variables of each, trained by itself."""
    return [
        train(spec, CONFIG, *problem, strengths, seeds=[3, 5]),
        train(spec, OTHER, *problem, NONE, seeds=[4]),
    ]


def test_in_one_program_they_agree_with_each_alone_to_rounding(problem, spec, trainings, alone, monkeypatch):
    monkeypatch.setattr(execution, "networks_at_once", lambda: 32)  # as on an accelerator
    together = train_together(spec, trainings, *problem)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4, rtol=1e-3), together, alone)
    # The settings are told apart by far more than rounding.
    kernels = [np.asarray(jax.tree.leaves(variables["params"])[-1][0]) for variables in together]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


def test_one_after_the_other_they_are_the_same_bits(problem, spec, trainings, alone):
    assert_equal(train_together(spec, trainings, *problem), alone)


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def test_one_that_a_kill_left_behind_catches_up(problem, spec, trainings, alone, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHUNK", 2)  # chunks of 2 and 1 steps
    steps = [[], []]

    def kept(kill_after):
        def log(index, **record):
            steps[index].append(record["step"])
            if index == 1 and len(steps[1]) == kill_after:
                raise Killed  # the first has written its checkpoint, the second has not

        return [
            dataclasses.replace(
                training, checkpoint=tmp_path / f"{index}", log=lambda index=index, **record: log(index, **record)
            )
            for index, training in enumerate(trainings)
        ]

    with pytest.raises(Killed):
        train_together(spec, kept(2), *problem)
    assert steps == [[2, 2, 3, 3], [2, 3]]
    resumed = train_together(spec, kept(None), *problem)
    assert steps[1] == [2, 3, 3, 5, 6]
    assert steps[0] == [2, 2, 3, 3, 5, 5, 6, 6]
    assert_equal(resumed, alone)


def test_one_that_diverges_leaves_and_the_others_go_on(problem, spec, trainings, alone):
    hot = Training(dataclasses.replace(CONFIG, learning_rate=1e30), NONE, [7])
    results = train_together(spec, [trainings[0], hot, trainings[1]], *problem)
    assert isinstance(results[1], DivergedError)
    assert "the loss of seed 7" in str(results[1])
    assert_equal([results[0], results[2]], alone)


def test_what_a_program_can_share(spec, strengths):
    key = program_key(spec, CONFIG, strengths, 90)
    assert key == program_key(spec, OTHER, NONE, 90)
    for other in (
        program_key(dataclasses.replace(spec, batch_size=45), CONFIG, strengths, 90),
        program_key(spec, dataclasses.replace(CONFIG, epochs=3), strengths, 90),
        program_key(spec, CONFIG, strengths, 120),
        program_key(spec, CONFIG, None, 90),
    ):
        assert key != other


def test_trainings_of_other_length_are_refused(problem, spec, trainings):
    longer = dataclasses.replace(trainings[1], config=dataclasses.replace(OTHER, epochs=3))
    with pytest.raises(InputError, match="differ in numbers only"):
        train_together(spec, [trainings[0], longer], *problem)
