"""Imports run one way, as the table says, and a module is found under its name."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

GROUND = ["errors", "reporting", "", "files", "ending", "processes", "dry_run", "door", "runtime"]
"""What all of `cnnjax` may import, in order; "" is the package's own file."""

ROOMS = {
    **{room: GROUND[:place] for place, room in enumerate(GROUND)},
    "stats": [],
    "kernels": [],
    "networks": [],
    "ops": ["kernels"],
    "layers": ["kernels", "ops"],
    "models": ["networks", "ops", "layers"],
    "data": ["ops"],
    "training": ["networks", "data"],
    "program.calls": [],
    "program.walk": [],
    "program.reach": ["program.calls", "program.walk"],
    "program": ["networks", "ops", "program.calls", "program.walk", "program.reach"],
    "analysis.inputs": ["program"],
    "analysis.fields": ["program", "program.reach", "analysis.inputs"],
    "analysis.transforms": ["ops", "program.reach", "analysis.inputs", "analysis.fields"],
    "analysis.invariance": ["stats", "program", "analysis.inputs", "analysis.transforms"],
    "analysis.equivariance": ["ops", "program", "analysis.inputs", "analysis.fields", "analysis.transforms"],
    "analysis.attribution.backward": ["ops", "program", "program.calls", "program.walk", "analysis.inputs"],
    "analysis.attribution": ["program", "analysis.inputs", "analysis.fields", "analysis.attribution.backward"],
    "analysis.network": [
        "program",
        "program.reach",
        "analysis.inputs",
        "analysis.fields",
        "analysis.transforms",
        "analysis.equivariance",
    ],
    "analysis": [
        "program",
        "analysis.fields",
        "analysis.transforms",
        "analysis.invariance",
        "analysis.equivariance",
        "analysis.attribution.backward",
        "analysis.attribution",
        "analysis.network",
    ],
    "patches": [],
    "jigsaw": [],
    "runs": ["training", "stats"],
    "figures": ["ops", "program", "stats", "analysis"],
    "course": ["ops", "models", "analysis", "patches", "jigsaw"],
    "sweep": [
        "networks",
        "ops",
        "layers",
        "models",
        "data",
        "training",
        "analysis",
        "analysis.inputs",
        "stats",
        "runs",
    ],
}
"""The rooms of `cnnjax`, and what each imports besides the ground: rooms before it in the table."""

EXPERIMENTS = {
    "modules": [],
    "shared": [],
    **{
        folder.name: ["shared"]
        for folder in sorted((ROOT / "experiments").iterdir())
        if (folder / "__main__.py").exists()
    },
    "report": ["modules"],
    "runs": [],
    "benchmarks": ["shared", "augmentation", "report"],
    "": ["modules"],
}
"""The rooms of `experiments`: each experiment is one; "" is the list of them. All may import all of `cnnjax`, which
imports none; experiments know nothing of each other."""


def test_a_room_stands_on_rooms_before_it():
    for table in (ROOMS, EXPERIMENTS):
        order = list(table)
        for room, below in table.items():
            assert set(below) <= set(order[: order.index(room)]), room


def test_imports_within_the_library_run_one_way():
    for module, imported in _imports("cnnjax"):
        importer = _room(module, ROOMS)
        assert imported.startswith("cnnjax"), f"{module} imports {imported}"
        allowed = {importer, *ROOMS[importer], *([] if importer in GROUND else GROUND)}
        assert _room(imported, ROOMS) in allowed, f"{module} imports {imported}"


def test_imports_within_the_experiments_run_one_way():
    for module, imported in _imports("experiments"):
        if imported.startswith("cnnjax"):
            continue
        importer, room = _room(module, EXPERIMENTS), _room(imported, EXPERIMENTS)
        assert room in {importer, *EXPERIMENTS[importer]}, f"{module} imports {imported}"


def test_no_module_is_hidden_by_another_thing_of_its_name():
    hidden = {
        f"{package}.{name}"
        for package, init in _modules().items()
        if init.name == "__init__.py"
        for name in _names_bound(package, init)
        if f"{package}.{name}" in _modules()
    }
    assert not hidden


@functools.cache
def _modules() -> dict[str, Path]:
    """The modules of library and experiments, and where they are written."""
    paths = [path for top in ("cnnjax", "experiments") for path in sorted((ROOT / top).rglob("*.py"))]
    dotted = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return {name.removesuffix(".__init__"): path for name, path in zip(dotted, paths, strict=True)}


def _imports(top: str) -> Iterator[tuple[str, str]]:
    """Each module below `top`, with each module of ours that it imports, anywhere in it."""
    for module, path in _modules().items():
        if module.split(".")[0] == top:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    yield from ((module, name.name) for name in node.names if name.name in _modules())
                elif isinstance(node, ast.ImportFrom) and node.module in _modules():
                    whole = [f"{node.module}.{name.name}" for name in node.names]
                    yield from ((module, name if name in _modules() else node.module) for name in whole)


def _names_bound(package: str, init: Path) -> Iterator[str]:
    """The names that a package's own file binds to other things than its modules of these names."""
    for node in ast.parse(init.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            yield from (name.asname or name.name for name in node.names if node.module != package)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _room(module: str, table: dict[str, list[str]]) -> str:
    """The room that a module is in: the one with the longest name that its own begins with."""
    top, _, name = module.partition(".")
    # The library's own file is a room; the experiments are one.
    fitting = [room for room in table if f"{name}.".startswith(f"{room}.") or (room == "" and top == "experiments")]
    assert fitting, f"{module} is in no room of the table"
    return max(fitting, key=len)
