"""Plans: what TensorRT builds of an ONNX file for one device, kept with a manifest. The ONNX file stays the truth.

A plan is machine code that runs when it is loaded. So one is loaded only from a folder of the user's own, if its
manifest fits this device, this TensorRT and the ONNX file, and if its bytes are those that the manifest names.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Iterator, Mapping

from deploy.errors import EngineError
from deploy.files import hash_file, wait_for_lock, write_file

__all__ = [
    "FINAL_LEVEL",
    "LEVELS",
    "PRIVATE",
    "SEARCH_LEVEL",
    "BuildSettings",
    "Plan",
    "PlanKey",
    "Platform",
    "find_plan",
    "lock_plans",
    "plan_folder",
    "read_plan",
    "write_plan",
]

PLANS_VARIABLE = "DETOPT_PLANS"
PRIVATE = 0o600  # what is written is for its owner alone
PLAN_FILE, MANIFEST_FILE = "model.plan", "plan.json"
SCHEMA_VERSION = 1
SEARCH_LEVEL, FINAL_LEVEL = 3, 5
LEVELS = {"search": SEARCH_LEVEL, "final": FINAL_LEVEL}


@dataclass(frozen=True)
class Platform:
    """What a plan is bound to, besides the model."""

    tensorrt: str
    device: str
    compute_capability: str
    cuda: str


@dataclass(frozen=True)
class BuildSettings:
    """How a plan is built.

    Attributes:
        level: TensorRT's builder optimisation level, 0 to 5; higher builds longer and may run faster.
        allow_tf32: whether FP32 layers may round their inputs to TF32, as TensorRT does by default.
    """

    level: int = SEARCH_LEVEL
    allow_tf32: bool = True


@dataclass(frozen=True)
class PlanKey:
    """What has to be equal for a plan to be loaded."""

    onnx_sha256: str
    platform: Platform
    settings: BuildSettings = field(default_factory=BuildSettings)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """A plan whose bytes are those of its manifest.

    Attributes:
        record: how it was built: attempts, seconds, memory, warnings, layers by precision (`deploy.builders.build`).
    """

    path: Path
    content: bytes = field(repr=False)
    key: PlanKey
    record: Mapping[str, Any] = field(repr=False)


def plan_folder(folder: str | Path | None = None) -> Path:
    """Where plans are kept: the folder given, ``DETOPT_PLANS``, or the user's cache. Made if it is not there.

    Raises:
        EngineError: it cannot be made, is another user's, or others may write to it.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(folder or os.environ.get(PLANS_VARIABLE) or Path(cache) / "detopt" / "plans")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise EngineError(f"the folder of plans {path} cannot be made: {error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise EngineError(
            f"plans run as they are loaded, and {path} may be written by others; chmod 700 it, or name another "
            "folder in "
            f"{PLANS_VARIABLE}"
        )
    return path


def find_plan(folder: Path, key: PlanKey) -> tuple[Plan | None, str]:
    """The plan in a folder that fits a key, or None and why there is none; ("none is there yet" is no fault)."""
    place = _place_of(folder, key)
    if not (place / MANIFEST_FILE).is_file():
        return None, "none is there yet"
    try:
        content = json.loads((place / MANIFEST_FILE).read_text(encoding="utf-8"))
        stated = str(content["plan_sha256"])
        if content["schema_version"] != SCHEMA_VERSION:
            return None, "its manifest is of another release"
        for name, wanted in _flatten(key.to_json()):
            found = dict(_flatten(content["key"])).get(name)
            if found != wanted:
                return None, f"it is of {name} {found}, and this is {wanted}"
        blob = (place / PLAN_FILE).read_bytes()
        record = dict(content["record"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, "it is damaged ({})".format(" ".join(repr(error).split()))
    if hashlib.sha256(blob).hexdigest() != stated:
        return None, "it was altered or cut short: its SHA-256 is not its manifest's"
    return Plan(place / PLAN_FILE, blob, key, record), ""


def write_plan(folder: Path, key: PlanKey, blob: bytes, record: Mapping[str, Any]) -> Plan:
    """Keep a plan: its bytes first, its manifest last, so that what a crash leaves behind does not fit.

    Raises:
        EngineError: the disk is full or not writable.
    """
    place = _place_of(folder, key)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "key": key.to_json(),
        "plan_sha256": hashlib.sha256(blob).hexdigest(),
        "record": dict(record),
    }
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        write_file(place / PLAN_FILE, blob, PRIVATE)
        write_file(place / MANIFEST_FILE, json.dumps(manifest, indent=1, sort_keys=True).encode(), PRIVATE)
    except OSError as error:
        raise EngineError(f"the plan {place / PLAN_FILE} could not be written: {error}") from error
    return Plan(place / PLAN_FILE, blob, key, dict(record))


def read_plan(folder: Path, model: Path, platform: Platform) -> Plan | None:
    """The best plan there is of a model for this platform: of the highest level; None where none fits."""
    digest = hash_file(model)
    for level in sorted(set(LEVELS.values()), reverse=True):
        plan, _ = find_plan(folder, PlanKey(digest, platform, BuildSettings(level)))
        if plan is not None:
            return plan
    return None


@contextmanager
def lock_plans(folder: Path) -> Iterator[None]:
    """One build at a time in a folder; the system frees the lock if its holder dies."""
    with wait_for_lock(folder / "lock"):
        yield


def _place_of(folder: Path, key: PlanKey) -> Path:
    """A folder for each model and settings; another device or TensorRT takes its place, and rebuilds."""
    tf32 = "" if key.settings.allow_tf32 else "-notf32"
    return folder / f"{key.onnx_sha256[:24]}-level{key.settings.level}{tf32}"


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flatten(item, prefix + name + ".")
        else:
            yield prefix + name, item
