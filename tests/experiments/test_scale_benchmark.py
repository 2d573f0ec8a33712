"""The benchmark of growing trainings runs, small, and says what it cannot measure."""

import re

import pytest

from cnnjax import InputError
from experiments.benchmarks import scale


def table(tmp_path, *parts):
    tiny = dict(devices=(2,), batches=(2, 4), sides=(8, 16), images=(8, 16), widths=(2, 4), batch_size=4, seconds=0.001)
    config = scale.Config(parts=parts, out=tmp_path / "run", **tiny)
    return (scale.run(config) / "table.md").read_text(encoding="utf-8")


def test_checkpoints_of_larger_networks_are_larger(tmp_path):
    text = table(tmp_path, "checkpoint")
    rows = [line.split("|") for line in text.splitlines() if re.match(r"\| *\d", line)]
    parameters, megabytes = ([float(row[column].replace(",", "")) for row in rows] for column in (1, 2))
    assert parameters[1] > 3 * parameters[0]
    assert megabytes[1] > megabytes[0]


@pytest.mark.slow
def test_every_other_part(tmp_path):
    text = table(tmp_path, "one", "devices", "batch", "image", "dataset")
    for title in ("A mesh of one device", "Virtual devices", "Batches", "Sizes of images", "Sizes of datasets"):
        assert title in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch_size=60), "batch_size=60 cannot be shared evenly by devices=[8]: give a multiple"),
        (dict(devices=()), "devices is empty"),
        (dict(sides=(0,)), "sides=(0,) must be at least 1"),
        (dict(images=(10,)), "images=(10,) must each be at least batch_size=64"),
        (dict(seconds=0), "seconds=0 must be positive"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message, tmp_path):
    with pytest.raises(InputError, match=re.escape(message)):
        scale.run(scale.Config(**options, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
