"""Fixtures every test may use."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Board

os.environ.setdefault("OMP_NUM_THREADS", "2")


DOUBLES = Path(__file__).parent / "doubles"
DOUBLED = ("tensorrt", "cuda")


@pytest.fixture
def pretend_tensorrt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Puts doubles of TensorRT and CUDA in their places, here and in child processes; gives TensorRT's.

    Call it again for another version, device or behaviour: the arguments are options of the doubles.
    """
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] in DOUBLED}

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] in DOUBLED]:
            del sys.modules[name]

    def pretend(version: str = "10.3.0", cuda: dict[str, Any] | None = None, **options: Any) -> Any:
        monkeypatch.setenv("TENSORRT_DOUBLE", json.dumps({"version": version, **options}))
        monkeypatch.setenv("CUDA_DOUBLE", json.dumps(cuda or {}))
        forget()
        import tensorrt

        return tensorrt

    monkeypatch.syspath_prepend(str(DOUBLES))
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
def board(tmp_path: Path) -> Iterator[Board]:
    """A board behind a local sshd."""
    board = Board(tmp_path / "board")
    try:
        yield board
    finally:
        board.stop()
