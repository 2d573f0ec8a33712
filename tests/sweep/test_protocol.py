"""What the protocol shows a network: made once for a dataset, and refused before anything is trained."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnnjax import InputError, models
from cnnjax.runs import Progress, open_run
from cnnjax.sweep import cells, protocol
from cnnjax.sweep.protocol import ProtocolConfig, measure, tasks
from tests.sweep import tiny_sweep
from tests.sweep.tiny_sweep import plan

SHIFTS = ProtocolConfig(max_shift=1, images=5, orbits=("shift_zero", "shift_circular", "shift_crop"))


def test_a_network_of_one_size_is_not_shown_crops():
    todo = tasks(SHIFTS, tiny_sweep.dataset())
    assert [*todo] == ["shift_zero", "shift_circular", "shift_crop"]
    assert [task.fits(tiny_sweep.MODEL) for task in todo.values()] == [True, True, False]
    assert todo["shift_crop"].fits(models.AllConv(num_classes=3, widths=(4,)))
    assert tasks(None, tiny_sweep.dataset()) == {}


@pytest.mark.parametrize("orbits", [("shift_zero", "shift_circular"), ("shift_circular",)])
def test_the_same_images_are_not_shown_twice(orbits, monkeypatch):
    data = tiny_sweep.dataset()
    blank = np.pad(data.test.images[:, 1:-1, 1:-1], ((0, 0), (1, 1), (1, 1), (0, 0)))
    data = dataclasses.replace(data, margin=1, test=dataclasses.replace(data.test, images=blank))
    shown = []

    def predict(classify, examples, orbit):
        shown.append(orbit.name)
        return real(classify, examples, orbit)

    real = protocol.analysis.predict
    monkeypatch.setattr(protocol.analysis, "predict", predict)
    config = dataclasses.replace(SHIFTS, orbits=orbits)
    variables = tiny_sweep.MODEL.init(jax.random.key(0), jnp.zeros((1, 6, 6, 1)))
    found = measure(tasks(config, data), data, tiny_sweep.MODEL, [variables])
    assert shown == [orbits[0]]
    for what in ("classes", "total_variation"):
        np.testing.assert_array_equal(found[f"{orbits[0]}/{what}"], found[f"shift_circular/{what}"])


def test_what_a_network_cannot_take_is_refused_before_anything_is_trained(tmp_path):
    whole = models.AllConv(num_classes=3, widths=(4,), padding="valid", kernel_size=2)
    one = cells.CellPlan("valid", whole, tiny_sweep.TRAIN)
    with (
        pytest.raises(InputError, match=r"shift_crop shows the network images of 4×4 pixels"),
        open_run("sweep", {}, out=tmp_path / "run") as run,
        Progress(2) as progress,
    ):
        cells.sweep(run, [plan("perceptron"), one], tiny_sweep.dataset(), SHIFTS, seeds=1, progress=progress)
    assert not (tmp_path / "run").exists()
