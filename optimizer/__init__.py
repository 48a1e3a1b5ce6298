"""Search, prune and train a detector for the device it will run on.

The public API: a recipe gives a `RunConfig`, `optimize` runs it, an `ArchSpec` says what a student is. Each name is
loaded when it is first used, so that `import optimizer` costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
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


def optimize(config: RunConfig, out: str | Path, on_trial: Callable[[Front], None] | None = None) -> Front:
    """Run a search in the folder `out`, or go on with it if it was begun there; returns what is in its ``front.json``.

    In a notebook its progress is drawn in one place: bars, the last lines, and the front so far. What is returned is
    shown there as a chart and a table; `open_front` gives the same of a run that is there.

    Args:
        on_trial: is handed the front each time it is written, after a trial. An exception of it ends the run, which
            goes on when this is called again.

    Raises:
        optimizer.errors.InputError: something is wrong with the request, or `out` holds another run or other things.
        optimizer.errors.RunFailed, optimizer.errors.Interrupted: call it again to go on.
    """
    from optimizer.notebook import Front, choose_progress
    from optimizer.run.run import run_or_resume

    folder = Path(out)
    return Front(run_or_resume(config, folder, choose_progress(folder, on_trial)), folder)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'optimizer' has no attribute {name!r}")
