"""What a benchmark takes of the project, or patches in it, is there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def list_missing(source: str) -> Iterator[str]:
    """Imported names, and attributes of imported modules, that the project's modules lack."""
    tree, modules = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("optimizer", "deploy"):
            package = import_module(node.module or "")
            for name in node.names:
                if not hasattr(package, name.name):
                    try:
                        import_module(f"{package.__name__}.{name.name}")
                    except ModuleNotFoundError:
                        yield f"{package.__name__}.{name.name}"
                        continue
                if isinstance(found := getattr(package, name.name), ModuleType):
                    modules[name.asname or name.name] = found
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            module = modules[node.value.id]
            if not hasattr(module, node.attr):
                yield f"{module.__name__}.{node.attr}"


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_every_name_that_a_benchmark_uses_exists(path: Path) -> None:
    assert list(list_missing(path.read_text())) == []


def test_names_that_are_gone_are_found() -> None:
    source = (
        "from optimizer.run import run as there\nfrom optimizer.run.run import gone\nthere.lost = there.start_run\n"
    )
    assert list(list_missing(source)) == ["optimizer.run.run.gone", "optimizer.run.run.lost"]
