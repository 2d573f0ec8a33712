"""What experiments say of themselves, read from their files: nothing of them is imported, so it takes no time."""

import ast
import dataclasses
import re
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Module:
    """An experiment: its name after `python -m`, and what its docstring says."""

    name: str
    question: str
    """The docstring's first sentence."""
    takes: str
    """How long the default takes, and on what: the file's `TAKES`; may be empty."""


def experiments(folder: Path = FOLDER) -> list[Module]:
    """Every package of the folder, and every module of its `benchmarks`, that has a `Config` and a `run`, by name."""
    files = [*sorted(folder.glob("*/__init__.py")), *sorted((folder / "benchmarks").glob("*.py"))]
    return [module for module in (read_module(file, folder) for file in files) if module is not None]


def read_module(file: Path, folder: Path = FOLDER) -> Module | None:
    """What the docstring of an experiment's file says; None for a file that is no experiment."""
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    if not {"Config", "run"} <= defined:
        return None
    text = " ".join((ast.get_docstring(tree) or "").split())
    sentence = re.match(r".*?[?.](?= |$)", text)
    constants = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    return Module(
        name=".".join(["experiments", *file.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__"),
        question=sentence.group() if sentence else text,
        takes=ast.literal_eval(constants["TAKES"]) if "TAKES" in constants else "",
    )
