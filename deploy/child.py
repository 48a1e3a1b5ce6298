"""Python processes that run a part of this package, also out of `detect.pyz`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Dict, List

__all__ = ["describe_child", "describe_environment"]


def describe_child(statement: str, *arguments: str) -> List[str]:
    """The command line that executes a Python statement in a fresh process; the arguments become `sys.argv[1:]`."""
    return [sys.executable, "-c", statement, *arguments]


def describe_environment() -> Dict[str, str]:
    """This process's environment, in which a child finds this very package."""
    package = str(Path(__file__).parents[1])  # a folder, or detect.pyz itself
    paths = [package] + [path for path in (os.environ.get("PYTHONPATH"),) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
