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
    from optimizer.recipes import paper, quick, smoke

__all__ = ["ArchSpec", "RunConfig", "optimize", "paper", "quick", "smoke"]

_HOMES = {
    "ArchSpec": "optimizer.arch.spec",
    "RunConfig": "optimizer.config",
    "paper": "optimizer.recipes",
    "quick": "optimizer.recipes",
    "smoke": "optimizer.recipes",
}


def optimize(config: RunConfig, out: str | Path) -> dict[str, Any]:
    """Run a search in the folder `out`, or go on with it if it was begun there; returns what is in its ``front.json``.

    Raises:
        optimizer.errors.InputError: something is wrong with the request, or `out` holds another run or other things.
        optimizer.errors.RunFailed, optimizer.errors.Interrupted: call it again to go on.
    """
    from optimizer.run.run import run_or_resume

    return run_or_resume(config, Path(out))


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'optimizer' has no attribute {name!r}")
