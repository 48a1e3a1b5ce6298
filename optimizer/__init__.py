"""Search, prune and train a detector for the device it will run on.

The public API: a recipe gives a `RunConfig`, `optimize` runs it, an `ArchSpec` says what a student is. Each name is
loaded when it is first used, so that `import optimizer` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimizer.arch.spec import ArchSpec
    from optimizer.config import RunConfig
    from optimizer.notebook import Front, Student, open_front
    from optimizer.recipes import paper, quick, smoke

__all__ = ["ArchSpec", "Front", "RunConfig", "Student", "open_front", "optimize", "paper", "quick", "smoke"]

_HOMES = {
    "__version__": "deploy.version",
    "ArchSpec": "optimizer.arch.spec",
    "Front": "optimizer.notebook",
    "RunConfig": "optimizer.config",
    "Student": "optimizer.notebook",
    "open_front": "optimizer.notebook",
    "paper": "optimizer.recipes",
    "quick": "optimizer.recipes",
    "smoke": "optimizer.recipes",
}


def optimize(config: RunConfig, out: str | Path) -> Front:
    """Run a search in the folder `out`, or go on with it if it was begun there; returns what is in its ``front.json``.

    A notebook shows what is returned as a chart and a table; `open_front` gives the same of a run that is there.

    Raises:
        optimizer.errors.InputError: something is wrong with the request, or `out` holds another run or other things.
        optimizer.errors.RunFailed, optimizer.errors.Interrupted: call it again to go on.
    """
    from optimizer.notebook import Front
    from optimizer.run.run import run_or_resume

    return Front(run_or_resume(config, Path(out)), Path(out))


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'optimizer' has no attribute {name!r}")
