"""`python -m experiments` says what there is, at once; every experiment says its question and its time."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.modules import FOLDER, experiments, read_module

MODULES = experiments()


def test_the_command_lists_every_experiment_and_waits_for_nothing():
    code = (
        "import runpy, sys; sys.argv = ['experiments']; runpy.run_module('experiments', run_name='__main__'); "
        "print(sorted({'jax', 'numpy', 'pandas', 'matplotlib', 'tyro'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    *listing, imported = done.stdout.splitlines()
    assert imported == "[]"
    assert "python -m experiments.augmentation  (about two minutes on two cores)" in listing
    assert {line.split()[2] for line in listing if line.startswith("python -m experiments.")} == {
        *(module.name for module in MODULES),
        "experiments.report",
        "experiments.runs",
    }


@pytest.mark.parametrize("module", MODULES, ids=[module.name for module in MODULES])
def test_every_experiment_says_what_it_asks_and_how_long_it_takes(module):
    assert module.question.endswith(("?", "."))
    assert module.takes, f'{module.name} wants a line TAKES = "about two minutes on two cores"'


def test_what_is_read_of_a_file(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "__init__.py").write_text('"""No experiment."""\n\ndef run(config):\n    """Run."""\n')
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth" / "__init__.py").write_text(
        '"""What does version 1.5 do,\nwhen deep? And more.\n\n'
        "    python -m experiments.depth --preset paper   in ten minutes on a GPU\n\n"
        'Expected: it ends.\n"""\n'
        'TAKES = "about 2.5 minutes on two cores"\nraise SystemExit("imported")\n\n'
        "class Config: ...\n\ndef run(config): ...\n"
    )
    (tmp_path / "benchmarks" / "depth.py").write_text((tmp_path / "depth" / "__init__.py").read_text())
    module, benchmark = experiments(tmp_path)
    assert (module.name, benchmark.name) == ("experiments.depth", "experiments.benchmarks.depth")
    assert module.question == "What does version 1.5 do, when deep?"
    assert module.takes == "about 2.5 minutes on two cores"
    assert read_module(Path(tmp_path / "tool" / "__init__.py"), tmp_path) is None
