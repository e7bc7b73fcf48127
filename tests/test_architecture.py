"""What may import what, and what is tested where: floors of rooms, no circles, and a mirrored test file for each module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

import protogen

PACKAGE = Path(protogen.__file__).parent
# From the ground up: each room imports only from its own floor and from those above it in this list.
FLOORS = (
    ("errors", "arguments", "files", "progress", "rules", "schema", "plugins", "memory"),
    ("prototxt",),
    ("weights",),
    ("layers",),
    ("graph",),
    ("targets",),
    ("backends", "verification"),
    ("report", "pictures"),
    ("net", "surgery", "reading", "deploy"),
    ("builder", "activations", "blocks", "training", "models", "batch"),
    ("cli",),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FACADE = ("protogen", "protogen.__main__")  # show what all floors have; from them only the version is read


@lru_cache(maxsize=1)
def files() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ("protogen", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@lru_cache(maxsize=1)
def imports() -> dict[str, set[str]]:
    """For each module, the modules of the package that it imports, inside functions too, TYPE_CHECKING blocks aside."""
    return {module: set(imported(module, path)) - {module} for module, path in files().items()}


def imported(module: str, path: Path) -> Iterator[str]:
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in files())
        else:
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            for name in node.names:
                whole = f"{source}.{name.name}"
                if whole in files() or source in files():
                    yield whole if whole in files() else source


def statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from statements(child)


def floor(module: str) -> int:
    return FLOOR_OF[module.split(".")[1]]


def test_every_room_has_its_floor() -> None:
    rooms = {module.split(".")[1] for module in files() if module not in FACADE}
    assert rooms == set(FLOOR_OF)


def test_no_import_goes_up() -> None:
    up = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if module not in FACADE and other not in FACADE and floor(other) > floor(module)
    ]
    assert not up


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {module: others - set(FACADE) for module, others in imports().items() if module not in FACADE}
    while graph:
        free = [module for module, others in graph.items() if not others & graph.keys()]
        if not free:
            pytest.fail(f"imports in a circle, or on the way to one: {', '.join(sorted(graph))}")
        for module in free:
            del graph[module]


def test_the_net_is_a_door_that_the_rooms_below_do_not_know() -> None:
    """Not even by the types of their parameters: what they take are graphs, definitions, arrays."""
    below = [path for module, path in files().items() if module not in FACADE and floor(module) < FLOOR_OF["verification"]]
    assert not [path for path in below if re.search(r"import Net\b|\bnet import\b", path.read_text(encoding="utf-8"))]


# Modules without a test file of their own, and where what they do is tested.
MIRRORED_ELSEWHERE = {
    "protogen.__main__": "two lines; tests/cli/test_cli.py runs them as a process",
    "protogen.backends.setting": "a record; the backends' tests make them",
    "protogen.layers.limits": "two numbers of C, which the layers' tests meet",
    "protogen.models.__main__": "writes a file, which tests/models/test_registry.py holds to what it would write",
    "protogen.targets.caffe.options": "a record; tests/targets/test_options.py",
    "protogen.targets.torch.options": "records; tests/targets/test_options.py",
    "protogen.weights.blobs": "a record, which every reader of weights returns",
}


def test_every_module_has_its_test_file() -> None:
    """Tests of protogen/x/y.py stand in tests/x/test_y.py; packages are tested through their modules."""
    here = Path(__file__).parent
    without = set()
    for module, path in files().items():
        room = here / path.relative_to(PACKAGE).parent
        if path.name != "__init__.py" and not (room / f"test_{path.name}").exists():
            without.add(module)
    assert without == set(MIRRORED_ELSEWHERE)


def test_modules_and_functions_are_short_enough_to_be_read() -> None:
    """Modules have at most 450 lines, function bodies (docstrings aside) 45."""
    long = []
    for module, path in files().items():
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 450:
            long.append(module)
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        for function in functions:
            first = function.body[ast.get_docstring(function) is not None and len(function.body) > 1]
            if (function.end_lineno or 0) - first.lineno >= 45:
                long.append(f"{module}.{function.name}")
    assert not long
