"""`python -m experiments.runs` says of every run what it was told, how far it is, and what it found."""

import pytest

from cnnjax import InputError
from cnnjax.runs import Table, open_run, show_tables
from cnnjax.stats import Interval
from experiments import runs
from experiments.augmentation import Config


@pytest.fixture
def folder(tmp_path):
    """A finished run, and one that has begun a cell."""
    with open_run("augmentation", Config(), out=tmp_path / "augmentation" / "done") as run:
        rows = [
            {"cell": name, "n": 3, "accuracy": Interval(mean, 0, 1, 5)} for name, mean in (("a", 0.5), ("b", 0.975))
        ]
        show_tables(run, [Table(rows, "Accuracy", percent=["accuracy"])])
    with open_run("augmentation", Config(seeds=2, first_seed=7), out=tmp_path / "deep" / "er" / "begun") as run:
        run.cell("none")
    return tmp_path


def test_each_run_has_its_lines(folder, capsys):
    assert runs.show(runs.Listing(folder)) == folder
    text = " ".join(capsys.readouterr().out.split())
    assert "augmentation/done begun 20" in text
    assert "5 seeds; finished; accuracy 50.0 to 97.5 %" in text
    assert "deep/er/begun begun 20" in text
    assert "2 seeds from 7 on; unfinished, cells begun: 1" in text


def test_a_run_that_cannot_be_read_is_named_behind_the_others(folder, capsys):
    (folder / "augmentation" / "done" / "config.json").write_text("{}")
    runs.show(runs.Listing(folder))
    text = " ".join(capsys.readouterr().out.split())
    assert text.index("deep/er/begun") < text.index("augmentation/done")
    assert "config.json is corrupt" in text


def test_options_are_those_of_the_command_but_for_the_place():
    command = "python -m experiments.depth --out elsewhere --data.name mnist --out=b --seeds 3"
    assert runs.options_of(command) == "--data.name mnist --seeds 3"
    assert runs.options_of("python -m experiments.depth") == ""
    assert runs.options_of("python widths.py --seeds 3") == "--seeds 3"


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        runs.show(runs.Listing(tmp_path))
