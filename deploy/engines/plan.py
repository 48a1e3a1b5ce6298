"""Plans: what TensorRT builds of an ONNX file for a GPU. Read here, with the manifest that tells what they are of.

A plan is machine code that runs when it is loaded. So one is loaded only from a folder that nobody else may write to,
if its bytes are those that its manifest names, and if the manifest fits this device and this TensorRT.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Iterator, Mapping

from deploy.errors import EngineError, InputError
from deploy.reading import read_json_object

__all__ = [
    "BuildSettings",
    "Plan",
    "PlanKey",
    "Platform",
    "check_private",
    "find_difference",
    "manifest_of",
    "read_plan",
]

SCHEMA_VERSION = 1
MANIFEST_FILE = "plan.json"
MANIFEST_LIMIT = 16 << 20  # bytes
PARTS = ("platform", "settings")  # of a key


@dataclass(frozen=True)
class Platform:
    """What a plan is bound to, besides the model.

    Attributes:
        tensorrt: the version of the library, and library which of NVIDIA's two it is.
        device, cuda: empty for TensorRT for RTX, whose plans fit every GPU of a compute capability.
    """

    tensorrt: str
    device: str
    compute_capability: str
    cuda: str
    library: str = "tensorrt"


@dataclass(frozen=True)
class BuildSettings:
    """How a plan is built.

    Attributes:
        level: TensorRT's builder optimisation level, 0 to 5; higher builds longer and may run faster.
        allow_tf32: whether FP32 layers may round their inputs to TF32, as TensorRT does by default.
    """

    level: int
    allow_tf32: bool = True


@dataclass(frozen=True)
class PlanKey:
    """What has to be equal for a plan to be loaded."""

    onnx_sha256: str
    platform: Platform
    settings: BuildSettings

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> PlanKey:
        key = PlanKey(value["onnx_sha256"], Platform(**value["platform"]), BuildSettings(**value["settings"]))
        if any(isinstance(part, (dict, list)) for _, part in _flatten(key.to_json())):
            raise TypeError("a key of a plan holds texts and numbers")
        return key


@dataclass(frozen=True)
class Plan:
    """A plan whose bytes are those of its manifest.

    Attributes:
        record: how it was built: model, attempts, seconds, memory, warnings, layers by precision.
    """

    path: Path
    content: bytes = field(repr=False)
    key: PlanKey
    record: Mapping[str, Any] = field(repr=False)


def read_plan(path: Path) -> Plan:
    """The plan in a file, checked against the manifest beside it.

    Raises:
        InputError: there is no manifest: the file is not a plan of ours.
        EngineError: it was altered, is damaged, is of another release, or others may write to its folder.
    """
    if not manifest_of(path).is_file():
        raise InputError(
            f"{path} is not a plan: there is no {MANIFEST_FILE} beside it; deploy build makes one of a model"
        )
    check_private(path.parent)
    try:
        content = read_json_object(manifest_of(path), MANIFEST_LIMIT)
        if content["schema_version"] != SCHEMA_VERSION:
            raise EngineError(f"{path}: its manifest is of another release; build the plan again")
        plan = Plan(path, path.read_bytes(), PlanKey.from_json(content["key"]), dict(content["record"]))
        stated = str(content["plan_sha256"])
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{path} is damaged ({' '.join(repr(error).split())})") from error
    if hashlib.sha256(plan.content).hexdigest() != stated:
        raise EngineError(f"{path} was altered or cut short: its SHA-256 is not its manifest's")
    return plan


def manifest_of(path: Path) -> Path:
    """Where the manifest of a plan is."""
    return path.with_name(MANIFEST_FILE)


def check_private(folder: Path) -> None:
    """An `EngineError` for a folder that is another user's, or that others may write to."""
    try:
        found = folder.stat()
    except OSError as error:
        raise EngineError(f"the folder of plans {folder} cannot be read: {error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise EngineError(
            f"plans run as they are loaded, and {folder} may be written by others; chmod 700 it, or choose another "
            "folder by DETOPT_PLANS"
        )


def find_difference(found: Any, wanted: Any) -> str | None:
    """The first thing in which a key, or a part of one, is not what is wanted."""
    values = dict(_flatten(asdict(found)))
    for name, value in _flatten(asdict(wanted)):
        if values[name] != value:
            return f"it is of {name} {values[name]}, and this is {value}"
    return None


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping) and name in PARTS:
            yield from _flatten(item, prefix + name + ".")
        else:
            yield prefix + name, item
