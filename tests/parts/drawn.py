"""What a chart of the report draws."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["read_traces"]


def read_traces(chart: str) -> list[dict[str, Any]]:
    """The data of a chart, as the page has it."""
    found = re.search(r'class="chart" data-of="[^"]+">(.*)</script>', chart)
    assert found is not None
    traces: list[dict[str, Any]] = json.loads(found[1])["data"]
    return traces
