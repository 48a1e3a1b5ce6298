"""A board has numpy and little else: what runs there imports without heavy libraries and parses under Python 3.8."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "deploy"
ROOT = PACKAGE.parent
BOARD_FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if PACKAGE / "export" not in path.parents]

# Everything that is neither numpy nor the standard library is refused, installed or not.
NUMPY_ALONE = """
import sys

class Guard:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in sys.stdlib_module_names and top not in ("numpy", "deploy"):
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Guard())
sys.path.insert(0, sys.argv[1])
import importlib
for module in sys.argv[2:]:
    importlib.import_module(module)
"""


def list_modules() -> list[str]:
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).replace(".__init__", "") for path in BOARD_FILES]


def test_every_board_side_module_imports_with_numpy_alone() -> None:
    command = [sys.executable, "-c", NUMPY_ALONE, str(ROOT), *list_modules()]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "deploy" in list_modules() and "deploy.engines.ort" in list_modules()


def test_the_guard_does_guard() -> None:
    command = [sys.executable, "-c", NUMPY_ALONE, str(ROOT), "onnxruntime"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1 and "onnxruntime is blocked" in result.stderr


@pytest.mark.parametrize("path", BOARD_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_board_side_files_parse_under_python_3_8(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    lazy = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    assert lazy or not tree.body or not any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree))
