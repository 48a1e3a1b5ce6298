"""What whole runs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from slim_runs import slim_down


@pytest.fixture(scope="module")
def slim_networks() -> Iterator[None]:
    """This process makes slim networks."""
    with pytest.MonkeyPatch.context() as patch:
        slim_down(patch)
        yield
