"""A small space of paths in five buckets."""

from __future__ import annotations

import pytest
from toy_paths import ToyPaths

from optimizer.path_filter.buckets import Buckets


@pytest.fixture(scope="session")
def space() -> ToyPaths:
    return ToyPaths()


@pytest.fixture(scope="session")
def buckets(space: ToyPaths) -> Buckets:
    return Buckets.between_ends(space)
