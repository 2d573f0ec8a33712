"""What the documents print can be run: their Python as it stands, their commands as far as their options."""

import ast
import csv
import inspect
import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import jax
import pytest

from cnnjax import runs
from cnnjax.runs import cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs").glob("*.md"),
    *ROOT.glob("experiments/**/*.md"),
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:python -m (experiments[.\w]*)|(?<=`)\.\.\.)((?: (?:-|[\w.*/]+)[^\s`&]*)*)")
"""A command; `...` stands for that before it in the text."""


def commands() -> list[str]:
    found = set()
    for document in DOCUMENTS:
        module = ""
        for named, options in COMMAND.findall(document.read_text(encoding="utf-8")):
            module = named or module
            if module not in ("experiments", "experiments.NAME") or options:
                found.add(f"{module}{options}")
    return sorted(found)


WITH_PYTHON = [document for document in DOCUMENTS if BLOCK.search(document.read_text(encoding="utf-8"))]


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch.export's own
@pytest.mark.parametrize("last", [1, pytest.param(None, marks=pytest.mark.slow)], ids=["first", "all"])
@pytest.mark.parametrize("document", WITH_PYTHON, ids=lambda document: document.name)
def test_its_blocks_of_python_run_one_after_the_other(document, last, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Path("runs/augmentation/ID")  # as the README names one
    run.mkdir(parents=True)
    with (run / "summary.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["cell", "seed", "accuracy"], ["none", 0, 0.5]])
    names = {"__name__": "document"}
    # Users have neither of the two strict settings of these tests.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in BLOCK.findall(document.read_text(encoding="utf-8"))[:last]:
            try:
                exec(block, names)
            except ModuleNotFoundError as error:
                if error.name not in ("torch", "ray"):  # of extras that a document's own command installs
                    raise
                pytest.skip(f"the rest needs {error.name}, which is not installed")


@pytest.mark.parametrize("command", commands())
def test_a_command_names_an_experiment_and_its_options(command, monkeypatch):
    module, *options = shlex.split(command)
    file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    read = []

    def only_read(config_class, run, *, prog, presets=None, can_tell=True):
        read.append(cli._read(config_class, prog, "", presets or {}, can_tell))

    monkeypatch.setattr(runs, "main", only_read)
    monkeypatch.setattr(cli, "main", only_read)
    monkeypatch.setattr(sys, "argv", [str(file), *options])
    runpy.run_path(str(file if file.exists() else file.with_suffix("") / "__main__.py"), run_name="__main__")
    assert len(read) == 1


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_what_a_notebook_uses_of_a_module_is_there(notebook):
    """All of them are run too, the long ones by `pytest -m slow`."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
    tree, names = ast.parse("\n".join(line for line in lines if not line.startswith("%"))), {}
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), notebook.name, "exec"), names)
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    of_modules = [(names[node.value.id], node.attr) for node in used if inspect.ismodule(names.get(node.value.id))]
    assert len(of_modules) > 10
    assert [(module.__name__, name) for module, name in of_modules if not hasattr(module, name)] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_every_figure_of_a_notebook_is_kept_as_a_picture(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    shown = [output["data"] for cell in cells for output in cell.get("outputs", ()) if "data" in output]
    figures = [data for data in shown if "<Figure" in "".join(data.get("text/plain", ()))]
    assert figures
    assert ["".join(data["text/plain"]) for data in figures if "image/png" not in data] == []


NUMBERED = [notebook for notebook in NOTEBOOKS if notebook.name[:1].isdigit()]


@pytest.mark.parametrize("notebook", NUMBERED, ids=lambda notebook: notebook.name)
def test_a_notebook_to_teach_from_is_kept_executed_with_its_pictures(notebook):
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    shown = [output for cell in cells for output in cell["outputs"]]
    assert [output for output in shown if output["output_type"] == "error" or output.get("name") == "stderr"] == []
    data = [output["data"] for output in shown if "data" in output]
    figures = [
        one for one in data if "".join(one["text/plain"]).startswith(("<Figure", "Drawing(", "ConvolutionSteps("))
    ]
    assert len(figures) > 3
    assert all(one.keys() & {"image/png", "image/svg+xml"} for one in figures)
    assert notebook.stat().st_size < 400_000


def test_misconceptions_name_headings_of_notebooks():
    text = (ROOT / "docs" / "misconceptions.md").read_text(encoding="utf-8")
    places = re.findall(r'\[notebook \d\]\(\.\./([^)]+)\), "([^"]+)"', text)
    assert len(places) == text.count("\n| ") - 2  # the header, and the line below it
    for notebook, heading in places:
        cells = json.loads((ROOT / notebook).read_text(encoding="utf-8"))["cells"]
        lines = [
            line for cell in cells if cell["cell_type"] == "markdown" for line in "".join(cell["source"]).split("\n")
        ]
        assert f"## {heading}" in lines, f"{notebook} has no heading {heading!r}"


def test_files_that_are_named_are_there():
    named = re.findall(
        r"(?<![\w/])(?:tests|cnnjax|experiments|docs|notebooks|\.ci)/[\w./-]+",
        "\n".join(file.read_text(encoding="utf-8") for file in (*DOCUMENTS, ROOT / ".ci" / "run")),
    )
    assert len(named) > 10
    assert [name for name in named if not (re.search("NAME|ROOM", name) or (ROOT / name.rstrip(".")).exists())] == []
