"""Importing study is quick, and what needs an absent package says so when it is asked for."""

import subprocess
import sys

import pytest

from cnnjax import InputError, study


def test_importing_study_imports_nothing_heavy():
    code = (
        "import sys, cnnjax.study; heavy = "
        "{'jax', 'jinja2', 'matplotlib', 'pandas', 'tyro', 'rich', 'scipy', 'sklearn'}; "
        "print(*sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_every_public_name_is_there():
    assert study.__all__ == sorted(study.__all__, key=lambda name: (not name[0].isupper(), name))
    for name in study.__all__:
        assert getattr(study, name).__doc__


def test_figures_without_matplotlib_say_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="pip install matplotlib"):
        study.angle_curves({"a": [[0.5, 0.5]]}, [0, 90])
