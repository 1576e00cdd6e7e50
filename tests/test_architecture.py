"""The way the data goes: a room imports only from rooms before it, and two of them touch neither disk nor network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPO

PACKAGE = REPO / "extrap_eval"
# In the order of the data; rooms of one row do not import each other.
ROWS = [
    {"errors"},
    {"problems.problem", "engines.markov.policy", "scoring.boxes", "reference_models"},  # leaves that anyone may use
    {"cards"},
    {"problems"},
    {"prompts", "scoring", "metrics", "engines", "figures"},
    {"store"},
    {"sampling", "importers", "preflight"},
    {"steps"},
    {"report"},
    {"cli"},
]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def row_of(module: str) -> int:
    inside = module.removeprefix("extrap_eval.")
    by_leaf = [i for i, row in enumerate(ROWS) if inside in row]
    by_room = [i for i, row in enumerate(ROWS) if inside.split(".")[0] in row]
    return (by_leaf or by_room)[0]


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_rooms_before_it(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    own = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for module in imports(path):
        if module.startswith("extrap_eval.") and module.split(".")[1] != room:
            assert row_of(module) < row_of(own) or row_of(module) == 1, module


@pytest.mark.parametrize("room", ["metrics", "scoring"])
def test_metrics_and_scoring_touch_neither_disk_nor_network(room: str) -> None:
    forbidden = {"pathlib", "shutil", "tempfile", "aiohttp", "socket", "urllib", "pyarrow", "datasets"}
    for path in (PACKAGE / room).glob("*.py"):
        found = {module.split(".")[0] for module in imports(path)} & forbidden
        assert not found, (path.name, found)
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        assert not any(isinstance(call.func, ast.Name) and call.func.id == "open" for call in calls), path.name
