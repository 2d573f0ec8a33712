"""What training imports is quick, and what needs an absent package says so when it is asked for."""

import subprocess
import sys

import pytest

from cnnjax import InputError, figures, runs, stats


def test_importing_runs_and_statistics_imports_nothing_heavy():
    code = (
        "import sys, cnnjax.runs, cnnjax.stats; heavy = "
        "{'jax', 'jinja2', 'matplotlib', 'pandas', 'tyro', 'rich', 'scipy', 'sklearn'}; "
        "print(*sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize("room", [figures, runs, stats])
def test_every_public_name_is_there(room):
    assert room.__all__ == sorted(room.__all__, key=lambda name: (not name[0].isupper(), name))
    for name in room.__all__:
        assert getattr(room, name).__doc__


def test_figures_without_matplotlib_say_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="pip install matplotlib"):
        figures.angle_curves({"a": [[0.5, 0.5]]}, [0, 90])
