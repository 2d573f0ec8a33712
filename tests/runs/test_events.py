"""What TensorBoard reads of a run is what the run has logged."""

import sys

import pytest

from cnnjax import InputError
from cnnjax.runs import export_tensorboard, open_run


@pytest.fixture
def run(tmp_path):
    with open_run("demo", {"rate": 0.1}, out=tmp_path / "run") as run:
        for step, loss in ((10, 2.0), (20, 1.5), (20, 1.25), (30, float("nan"))):  # 20 was trained again after a kill
            run.log(cell="rate=0.1", seed=0, step=step, epoch=step / 10, loss=loss, accuracy=0.5, seconds=2.0)
        run.log(cell="rate=0.1", seed=1, step=10, epoch=1.0, loss=3.0, accuracy=0.25, seconds=2.0)
        run.log(cell="figures", seconds=1.0)  # of no training
    return run.path


def read(folder):
    """The scalars of each tag, by TensorBoard's own reader."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard is not installed: pip install -e '.[tensorboard]'",
    )
    found = accumulator.EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in sorted(found.Tags()["scalars"])}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_tensorboard_reads_what_was_logged(run):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: pip install -e '.[tensorboard]'")
    folder = export_tensorboard(run)
    assert folder == run / "tensorboard"
    assert sorted(path.name for path in folder.glob("*/*")) == ["seed=0", "seed=1"]
    first, second = (read(folder / "rate=0.1" / name) for name in ("seed=0", "seed=1"))
    assert first == {
        "accuracy": [(10, 0.5), (20, 0.5), (30, 0.5)],
        "epoch": [(10, 1.0), (20, 2.0), (30, 3.0)],
        "loss": [(10, 2.0), (20, 1.25)],
        "seconds": [(10, 2.0), (20, 2.0), (30, 2.0)],
    }
    assert second["loss"] == [(10, 3.0)]
    with open_run("demo", {"rate": 0.1}, out=run) as again:
        again.log(cell="rate=0.1", seed=1, step=20, epoch=2.0, loss=2.5, accuracy=0.25, seconds=2.0)
    theirs = folder / "rate=0.1" / "seed=0" / "events.out.tfevents.1.theirs"
    theirs.write_bytes(b"")
    export_tensorboard(run)
    assert theirs.exists()
    assert read(folder / "rate=0.1" / "seed=1")["loss"] == [(10, 3.0), (20, 2.5)]
    assert "tensorflow" not in sys.modules


def test_what_cannot_be_exported_is_one_line(run, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: pip install -e '.[tensorboard]'")
    with pytest.raises(InputError, match=r"metrics\.jsonl does not exist; is .* the directory of a run"):
        export_tensorboard(tmp_path / "other")
    with open_run("demo", {"rate": 0.2}, out=tmp_path / "new"):
        pass
    with pytest.raises(InputError, match=r"has no record of a training yet"):
        export_tensorboard(tmp_path / "new")


def test_without_tensorboard_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("tensorboard.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"pip install -e '\.\[tensorboard\]'"):
        export_tensorboard(run)
