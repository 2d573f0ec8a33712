"""Several processes decode each its own rows of a batch, and train as one does that decodes all of them."""

import numpy as np
import pytest

from cnnjax.runs import read_metrics
from tests.data.photographs import photographs
from tests.processes.launch import Processes

OPTIONS = (
    *("--data.name", "folder", "--data.size", "16", "--data.crop-area", "0.3", "--data.workers", "0", "--seeds", "2"),
    *("--network.name", "all_conv", "--network.widths", "4", "--network.depth", "1", "--flip", "0.5"),
    *("--train.epochs", "2", "--train.batch-size", "8", "--protocol.images", "5", "--protocol.max-shift", "1"),
)


@pytest.mark.slow
def test_two_processes_train_on_random_parts_as_one_does(tmp_path):
    pytest.importorskip("grain", reason="decoding in each epoch needs Grain")
    folder = photographs(tmp_path / "photographs", 12)
    losses = []
    for count in (1, 2):
        out = tmp_path / f"run{count}"
        options = ("--data.data-dir", folder, "--out", out, *OPTIONS)
        with Processes(count, *options, module="experiments.recipe") as processes:
            found = processes.ended()
        assert [status for status, _, _ in found] == [0] * count, found
        records = read_metrics(out, keys=("cell", "seed", "step")).query("loss == loss")
        losses.append(records.sort_values(["seed", "step"])["loss"].to_numpy())
    assert len(losses[0]) == 4
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
