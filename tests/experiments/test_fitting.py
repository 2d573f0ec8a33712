"""How well networks fit their training images is read off the records of their last epoch."""

from types import SimpleNamespace

import numpy as np
import pytest

from cnnjax.runs import open_run
from experiments.shared.fitting import training_accuracy, training_interval, unfitted


def test_it_is_the_mean_over_the_steps_of_the_last_epoch_and_low_ones_are_named(tmp_path):
    # Ten steps in an epoch, in chunks of 4, 4 and 2; the records of two seeds come mixed, and one comes again.
    records = {
        ("a", 1): [0.1, 0.1, 0.1, 0.8, 0.9, 1.0],
        ("a", 0): [0.0, 0.2, 0.2, 0.5, 0.5, 1.0],
        ("b", 0): [0.5, 0.5, 0.5, 1.0, 1.0, 1.0],
    }
    with open_run("demo", {}, out=tmp_path / "run") as run:
        for number, step in enumerate((4, 8, 10, 14, 18, 20)):
            for (cell, seed), accuracy in records.items():
                for value in (0.0, accuracy[number]):
                    run.log(cell=cell, seed=seed, step=step, epoch=step / 10, loss=1.0, accuracy=value)
    found = training_accuracy(SimpleNamespace(run=run, predictions={"a": {}, "b": {}}))
    expected = [np.average(records["a", seed][3:], weights=[4, 4, 2]) for seed in (0, 1)]
    np.testing.assert_allclose(found["a"], expected)
    np.testing.assert_allclose(found["b"], [1])
    assert training_interval(found, "a").mean == pytest.approx(np.mean(expected))
    assert training_interval(found, "c") is None
    (line,) = unfitted(found)
    assert line.endswith(f"a ({100 * np.mean(expected):.1f} %).")
    assert unfitted({"b": found["b"]}) == []
