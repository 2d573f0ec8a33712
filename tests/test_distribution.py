"""What an installation gives: all of `cnnjax`, and nothing that takes the place of a user's own modules."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import editables
import pytest

import cnnjax

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from hatchling import build; print(getattr(build, sys.argv[1])(sys.argv[2]))"

USE = """
import importlib, pkgutil, sys
import cnnjax
for found in pkgutil.walk_packages(cnnjax.__path__, "cnnjax."):
    importlib.import_module(found.name)
import jax.numpy as jnp
from cnnjax import ops, runs
assert ops.shift(jnp.arange(4.0)[None, :, None], jnp.array([1]))[0, :, 0].tolist() == [0, 0, 1, 2]
print(runs.write_page(sys.argv[1], "A page", [runs.Section("One", [runs.Code("text")])]))
print(cnnjax.__file__, cnnjax.__version__)
"""

LOOK = """
import site, sys
site.addsitedir(sys.argv[1])
from importlib.util import find_spec
print([find_spec(name) and find_spec(name).origin for name in ("cnnjax", "experiments", "tests")])
"""


def built(kind: str, folder: Path) -> Path:
    """The wheel that the build backend makes of this checkout; pip calls the same function."""
    name = run(["-c", BUILD, kind, str(folder)], cwd=ROOT).splitlines()[-1]
    return folder / name


def installed(wheel: Path, folder: Path) -> Path:
    run(["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder), str(wheel)], cwd=ROOT)
    return folder


def run(arguments: list[str], cwd: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env={**clean, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built("build_wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_every_file_of_the_library_and_nothing_else(wheel):
    files = {path.relative_to(ROOT) for path in (ROOT / "cnnjax").rglob("*") if path.is_file()}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {"cnnjax/py.typed", "cnnjax/runs/page.html.jinja"} <= held
    assert held == {path.as_posix() for path in files if "__pycache__" not in path.parts}


def test_an_installed_wheel_works_away_from_the_checkout(wheel, tmp_path):
    folder = installed(wheel, tmp_path / "installed")
    *_, last = run(["-c", USE, str(tmp_path / "page.html")], cwd=tmp_path, PYTHONPATH=str(folder)).splitlines()
    assert last.split() == [str(folder / "cnnjax" / "__init__.py"), cnnjax.__version__]
    assert "A page" in (tmp_path / "page.html").read_text()


def test_an_editable_installation_gives_cnnjax_only(tmp_path):
    folder = installed(built("build_editable", tmp_path), tmp_path / "installed")
    shutil.copytree(Path(editables.__file__).parent, folder / "editables")
    # Isolated from this environment, in which cnnjax may be installed in another way.
    found = run(["-I", "-S", "-c", LOOK, str(folder)], cwd=tmp_path)
    assert found.strip() == str([str(ROOT / "cnnjax" / "__init__.py"), None, None])


def test_the_version_is_that_of_the_installation(wheel, tmp_path):
    (found,) = importlib.metadata.distributions(path=[str(installed(wheel, tmp_path))])
    assert (found.name, found.version) == ("cnnjax", cnnjax.__version__)
