"""A small generated data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.data import Dataset, read_dataset
from optimizer.data.shapes import write_shapes


@pytest.fixture
def shapes(tmp_path: Path) -> Dataset:
    """Eleven training images of 64x48."""
    return read_dataset(write_shapes(tmp_path / "shapes", train=11, val=2, size=(64, 48), seed=3), "train")
