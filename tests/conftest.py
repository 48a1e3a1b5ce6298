"""Fixtures every test may use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Board

os.environ.setdefault("OMP_NUM_THREADS", "2")


DOUBLES = Path(__file__).parent / "doubles"
DOUBLED = ("tensorrt", "tensorrt_rtx", "pycuda")
CUDA_OPTIONS = ("device", "capability", "version", "capture")
LONG_FIRST = ("smoke", "deploy/builders/test_rtx.py", "deploy/targets", "deploy", "optimizer")  # in tests/


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest starts first, so that no worker of several is left with it at the end."""
    here = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(here).as_posix()
        return next((at for at, start in enumerate(LONG_FIRST) if path.startswith(start)), len(LONG_FIRST))

    items.sort(key=rank)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed or logged can be sent from a worker to pytest, names of files that are not UTF-8 included."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode(errors="replace")) for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def cuda_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a CUDA toolkit whose libcudart is a double in C, so that calls go through ctypes as on a GPU."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler (cc or gcc)")
    folder = tmp_path_factory.mktemp("cuda")
    (folder / "lib64").mkdir()
    library = folder / "lib64" / "libcudart.so"
    own = "-Wl,-Bsymbolic"  # its calls of itself do not go to a real libcudart that the process has loaded
    subprocess.run([compiler, "-shared", "-fPIC", own, "-o", str(library), str(DOUBLES / "cudart.c")], check=True)
    return folder


@pytest.fixture
def pretend_tensorrt(cuda_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Puts doubles of TensorRT and CUDA in their places, here and in child processes; gives TensorRT's.

    Call it again for another version, device or behaviour: the arguments are options of the doubles.
    """
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] in DOUBLED}

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] in DOUBLED]:
            del sys.modules[name]

    def pretend(version: str = "10.3.0", cuda: dict[str, Any] | None = None, **options: Any) -> Any:
        monkeypatch.setenv("TENSORRT_DOUBLE", json.dumps({"version": version, **options}))
        for name in CUDA_OPTIONS:
            monkeypatch.delenv(f"CUDA_DOUBLE_{name.upper()}", raising=False)
        for name, value in (cuda or {}).items():
            monkeypatch.setenv(f"CUDA_DOUBLE_{name.upper()}", str(value))
        forget()
        import cudart
        import tensorrt

        cudart.begin_anew()

        return tensorrt

    monkeypatch.syspath_prepend(str(DOUBLES))
    monkeypatch.setenv("CUDA_HOME", str(cuda_home))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(DOUBLES), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("DETOPT_PLANS", str(tmp_path / "plans"))
    yield pretend
    forget()
    sys.modules.update(kept)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images (``bccd/``, ``coco_excerpt/``), named by DETOPT_REAL_DATA."""
    folder = os.environ.get("DETOPT_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real images: set DETOPT_REAL_DATA to the folder that holds bccd/ and coco_excerpt/")
    return Path(folder)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """A board behind a local sshd."""
    board = Board(tmp_path / "board")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(board.config_home))
    try:
        yield board
    finally:
        board.stop()
