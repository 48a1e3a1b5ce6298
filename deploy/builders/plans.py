"""Where plans are kept: a cache of what was built, a folder for each model and settings. The ONNX file is the truth."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Mapping

from deploy.engines.plan import (
    SCHEMA_VERSION,
    BuildSettings,
    Plan,
    PlanKey,
    Platform,
    check_private,
    find_difference,
    manifest_of,
    read_plan,
)
from deploy.errors import DeployError, EngineError, explain_disk_error
from deploy.files import hash_file, write_file
from deploy.locks import LockBusy, wait_for_lock

__all__ = [
    "EFFORTS",
    "FINAL_LEVEL",
    "PRIVATE",
    "SEARCH_LEVEL",
    "find_best_plan",
    "find_plan",
    "lock_plans",
    "plan_folder",
    "write_plan",
]

PLANS_VARIABLE = "DETOPT_PLANS"
PRIVATE = 0o600  # what is written is for its owner alone
PLAN_FILE = "model.plan"
LONGEST_WAIT_S = 2 * 3600.0  # for another process's build, whose two tries have half an hour each
SEARCH_LEVEL, FINAL_LEVEL = 3, 5
EFFORTS = {"search": SEARCH_LEVEL, "final": FINAL_LEVEL}


def plan_folder(folder: str | Path | None = None) -> Path:
    """Where plans are kept: the folder given, ``DETOPT_PLANS``, or the user's cache. Made if it is not there.

    Raises:
        EngineError: it cannot be made, is another user's, or others may write to it.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(folder or os.environ.get(PLANS_VARIABLE) or Path(cache) / "detopt" / "plans")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(f"the folder of plans {path} cannot be made: {error}") from error
    check_private(path)
    return path


def find_plan(folder: Path, key: PlanKey) -> tuple[Plan | None, str]:
    """The plan in a folder that fits a key, or None and why there is none; ("none is there yet" is no fault)."""
    path = _place_of(folder, key) / PLAN_FILE
    try:
        if not manifest_of(path).is_file():
            return None, "none is there yet"
        plan = read_plan(path)
    except (DeployError, OSError) as error:
        return None, str(error)
    difference = find_difference(plan.key, key)
    return (plan, "") if difference is None else (None, difference)


def find_best_plan(folder: Path, model: Path, platform: Platform) -> Plan | None:
    """The best plan there is of a model for this platform: of the highest level; None where none fits."""
    digest = hash_file(model)
    for level in sorted(set(EFFORTS.values()), reverse=True):
        plan, _ = find_plan(folder, PlanKey(digest, platform, BuildSettings(level)))
        if plan is not None:
            return plan
    return None


def write_plan(folder: Path, key: PlanKey, blob: bytes, record: Mapping[str, Any]) -> Plan:
    """Keep a plan: its bytes first, its manifest last, so that what a crash leaves behind does not fit.

    Raises:
        EngineError: the disk is full or not writable.
    """
    path = _place_of(folder, key) / PLAN_FILE
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "key": key.to_json(),
        "plan_sha256": hashlib.sha256(blob).hexdigest(),
        "record": dict(record),
    }
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_file(path, blob, PRIVATE)
        write_file(manifest_of(path), json.dumps(manifest, indent=1, sort_keys=True).encode(), PRIVATE)
    except OSError as error:
        raise EngineError(f"the plan {path} could not be written: {explain_disk_error(error)}") from error
    return Plan(path, blob, key, dict(record))


@contextmanager
def lock_plans(folder: Path) -> Iterator[None]:
    """One build at a time in a folder; the system frees the lock if its holder dies.

    Raises:
        EngineError: another process holds it for longer than builds take, or the folder cannot be written.
    """
    try:
        lock = wait_for_lock(folder / "lock", LONGEST_WAIT_S)
    except LockBusy as busy:
        raise EngineError(
            f"process {busy.holder} has been building in {folder} for {LONGEST_WAIT_S:g} s; end it, or choose another "
            f"folder by {PLANS_VARIABLE}"
        ) from busy
    except OSError as error:
        raise EngineError(f"the folder of plans {folder} cannot be used: {error}") from error
    with lock:
        yield


def _place_of(folder: Path, key: PlanKey) -> Path:
    """A folder for each model and settings; another device or TensorRT takes its place, and rebuilds.

    A plan that fits no single device, but a compute capability, has a folder for each of these.
    """
    tf32 = "" if key.settings.allow_tf32 else "-notf32"
    sort = "" if key.platform.device else "-sm" + key.platform.compute_capability.replace(".", "")
    return folder / f"{key.onnx_sha256[:24]}-level{key.settings.level}{tf32}{sort}"
