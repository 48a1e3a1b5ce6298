"""`detect.pyz` under the Pythons that boards have: JetPack 5 has 3.8, JetPack 6 has 3.10.

An interpreter is found as `python3.8` on the PATH, among pyenv's, or by DETOPT_PYTHON_3_8, which names that of a
virtual environment with numpy, Pillow and ONNX Runtime. What is missing is said by the skip.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import Bundle
from deploy.bundles.archive import list_board_files

PACKAGE = Path(__file__).resolve().parents[2] / "deploy"
NEEDED = "numpy, PIL, onnxruntime"
COMPILE = "import sys; [compile(open(path, encoding='utf-8').read(), path, 'exec') for path in sys.argv[1:]]"


@pytest.fixture(params=["3.8", "3.10"])
def python(request: pytest.FixtureRequest) -> list[str]:
    """The command that starts this Python, apart from what is installed here."""
    version = request.param
    named = os.environ.get("DETOPT_PYTHON_" + version.replace(".", "_"))
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    for program in [named] if named else [f"python{version}", *list_pyenvs(version)]:
        try:
            found = start([program, "-I"], "-c", ask)
        except OSError:
            continue
        if found.stdout.strip() == version:
            return [program, "-I"]
    pytest.skip(f"there is no python{version} on the PATH; DETOPT_PYTHON_{version.replace('.', '_')} may name one")


@pytest.fixture
def equipped(python: list[str]) -> list[str]:
    found = start(python, "-c", f"import {NEEDED}")
    if found.returncode:
        pytest.skip(f"{python[0]}: {found.stderr.strip().splitlines()[-1]} (it needs {NEEDED})")
    return python


def list_pyenvs(version: str) -> list[str]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return [str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python"))]


def start(python: list[str], *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [*python, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_every_board_side_file_compiles(python: list[str]) -> None:
    files = [PACKAGE / name for name in list_board_files() if name.endswith(".py")]
    result = start(python, "-c", COMPILE, *files)
    assert len(files) > 30 and result.returncode == 0, result.stderr


def test_the_archive_finds_objects(equipped: list[str], tiny_bundle: Bundle, write_image: Callable[..., Path]) -> None:
    folder = write_image("photos/a.png").parent
    write_image("photos/b.png")
    result = start(equipped, "detect.pyz", "run", ".", folder, "--json", "--out", folder / "drawn",
                   cwd=tiny_bundle.folder)  # fmt: skip
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["source"]).name for line in lines] == ["a.png", "b.png"]
    assert [item["class"] for item in lines[0]["objects"]] == ["dog", "cat"]
    assert sorted(path.name for path in (folder / "drawn").iterdir()) == ["a.png", "b.png"]


def test_the_archive_explains_itself_and_refuses_in_one_line(equipped: list[str], tiny_bundle: Bundle) -> None:
    helped = start(equipped, "detect.pyz", "--help", cwd=tiny_bundle.folder)
    assert helped.returncode == 0 and "deploy run" in helped.stdout
    refused = start(equipped, "detect.pyz", "run", ".", "absent.jpg", cwd=tiny_bundle.folder)
    assert refused.returncode == 2 and "absent.jpg" in refused.stderr and refused.stderr.count("\n") == 1


def test_the_archive_measures(equipped: list[str], tiny_bundle: Bundle) -> None:
    if start(equipped, "-c", "import tomllib").returncode and start(equipped, "-c", "import tomli").returncode:
        pytest.skip(f"{equipped[0]}: reading a target needs tomli before Python 3.11")
    result = start(equipped, "detect.pyz", "measure", ".", "--level", "quick", "--json", cwd=tiny_bundle.folder)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["model"]["median_ms"] > 0
