"""The benchmark of networks brought over from PyTorch, end to end, with a small one."""

import pandas
import pytest

from cnnjax.errors import InputError
from experiments.benchmarks import from_torch

pytest.importorskip("torch", reason="the benchmark needs torch")


def test_end_to_end(tmp_path):
    run = from_torch.run(from_torch.Config(network="LeNet", batches=(1,), seconds=0.01, out=tmp_path / "run"))
    rows = pandas.read_csv(run / "summary.csv")
    assert list(rows["weights"]) == ["arguments", "constants"]
    assert (rows[["from_torch ms", "cnnjax ms", "export s", "trace s"]] > 0).all(axis=None)
    assert "from_torch / cnnjax" in (run / "table.md").read_text()


def test_numbers_of_images_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"batches=\(0,\) must be numbers of images"):
        from_torch.run(from_torch.Config(batches=(0,), out=tmp_path / "run"))
