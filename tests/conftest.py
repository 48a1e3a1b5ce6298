"""Fixtures every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Board

os.environ.setdefault("OMP_NUM_THREADS", "2")


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
