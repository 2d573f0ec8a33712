"""What a cell keeps is measured once, and read back unless it is damaged or another's."""

import json
import shutil

import numpy as np
import pytest

from cnnjax import InputError
from cnnjax.runs import Progress, open_run, read_metrics
from cnnjax.runs.folder import Folder


@pytest.mark.parametrize(
    ("file", "value"), [("counts.json", {"a": [1, None]}), ("maps.safetensors", {"a/b": np.arange(3.0)})]
)
def test_what_is_there_is_not_measured_again(tmp_path, capsys, file, value):
    measured = []

    def measure():
        measured.append(file)
        return value

    for _ in range(2):
        with open_run("demo", {}, out=tmp_path) as run, Progress(1) as progress:
            found = run.once("a", file, measure, progress=progress, title="maps of a")
        assert found.keys() == value.keys()
        np.testing.assert_array_equal(*(np.asarray(list(each.values()), float) for each in (found, value)))
    assert measured == [file]
    assert read_metrics(tmp_path)["cell"].tolist() == ["maps of a"]
    assert "[1/1] maps of a: finished earlier" in capsys.readouterr().err


def test_what_is_interrupted_is_measured_again(tmp_path):
    def stop():
        raise KeyboardInterrupt

    with open_run("demo", {}, out=tmp_path) as run, Progress(2) as progress:
        with pytest.raises(KeyboardInterrupt):
            run.once("a", "n.json", stop, progress=progress)
        assert run.once("a", "n.json", lambda: 3, progress=progress) == 3


def test_a_json_value_comes_back_or_is_refused(tmp_path):
    folder = Folder(tmp_path, "demo 1/a")
    value = {"counts": [1, 2.5, None], "text": "±"}
    folder.save_json("result.json", value)
    assert folder.json("result.json") == value
    content = json.loads((tmp_path / "result.json").read_text())
    for changed in (
        {**content, "value": {**value, "text": "+"}},
        {**content, "of": "demo 1/b/result.json"},
        {**content, "sha256": None},
        {"value": value},
        value,
    ):
        (tmp_path / "result.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match=r"result\.json cannot be read .*delete it"):
            folder.json("result.json")
    Folder(tmp_path, "demo 1/b").save_json("result.json", value)
    with pytest.raises(InputError, match=r"is not of demo 1/a/result\.json, but of demo 1/b"):
        folder.json("result.json")


def test_a_measurement_of_another_run_is_refused(tmp_path):
    for number in (1, 2):
        with open_run("demo", {"number": number}, out=tmp_path / f"{number}") as run, Progress(1) as progress:
            assert run.once("a", "result.json", lambda number=number: number, progress=progress) == number
    shutil.copy(tmp_path / "1" / "cells" / "a" / "result.json", tmp_path / "2" / "cells" / "a" / "result.json")
    with (
        open_run("demo", {"number": 2}, out=tmp_path / "2") as run,
        Progress(1) as progress,
        pytest.raises(InputError, match=r"result\.json is not of demo"),
    ):
        run.once("a", "result.json", lambda: 3, progress=progress)
