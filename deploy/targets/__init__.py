"""Targets: the devices models are for. One is added by a TOML file in `known` and a line in `TARGETS`."""

from __future__ import annotations

import json
import pkgutil
from pathlib import Path
from typing import Any, Callable

from deploy.engines import ENGINES
from deploy.errors import InputError
from deploy.reading import read_plain
from deploy.targets.base import Target
from deploy.targets.examine import Condition, describe_conditions, require_reading, require_working
from deploy.targets.hosts import apply_host
from deploy.targets.local import LocalTarget
from deploy.targets.parse import make_target, parse_target
from deploy.targets.spec import NMS_VARIANTS, ROI_ALIGN_VARIANTS, EngineSpec, LinkSpec, MeasuringSpec, TargetSpec
from deploy.targets.ssh import SshTarget
from deploy.toml import load_toml

__all__ = [
    "LINKS",
    "TARGETS",
    "Condition",
    "EngineSpec",
    "LinkSpec",
    "MeasuringSpec",
    "Target",
    "TargetSpec",
    "describe_conditions",
    "get_target",
    "read_target",
    "require_reading",
    "require_working",
]

TARGETS: dict[str, str] = {name: f"known/{name}.toml" for name in ("cpu", "cuda", "tensorrt", "rtx", "jetson")}
FILE_LIMIT = 1 << 20  # bytes of a target's file
LINKS: dict[str, Callable[[TargetSpec], Target]] = {"local": LocalTarget, "ssh": SshTarget}


def get_target(name: str, host: str = "") -> Target:
    """A known target by its name, or the one a TOML file describes; ``host`` says which board it is.

    Raises:
        InputError: neither exists, a board has no host, or the target asks for a link, an engine, an NMS or a RoIAlign
            that this release does not have, or for a precision that its engine does not take.
    """
    spec = apply_host(read_target(name), host)
    engine = spec.engine
    for what, value, known in (
        ("link", spec.link.kind, set(LINKS)),
        ("engine", engine.name, set(ENGINES)),
        ("nms", engine.nms, set(NMS_VARIANTS)),
        ("roi_align", engine.roi_align, set(ROI_ALIGN_VARIANTS)),
    ):
        if value not in known:
            raise InputError(
                f"target {name!r} needs the {what} {value!r}; this release has: {', '.join(sorted(known))}; "
                "choose another target, or write one"
            )
    can = ENGINES[engine.name].precisions
    for precision in engine.precisions:
        if precision not in can:
            raise InputError(
                f"target {name!r} names the precision {precision}, and its engine {engine.name!r} takes: "
                f"{', '.join(can)}; take it out of `precisions`"
            )
    return LINKS[spec.link.kind](spec)


def read_target(name: str) -> TargetSpec:
    """What a target's file says, whether or not it can be used from here."""
    if name in TARGETS:
        return make_target(_read_known(TARGETS[name]), name)
    if Path(name).suffix != ".toml":
        raise InputError(
            f"unknown target {name!r}; there are: {', '.join(sorted(TARGETS))}; or give the path of a TOML file that "
            'describes one (a board: link = "ssh", host = "user@board")'
        )
    try:
        return parse_target(read_plain(Path(name), FILE_LIMIT).decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise InputError(f"the target file {name} cannot be read: {error}") from error


def _read_known(path: str) -> dict[str, Any]:
    """The values in a file of ours; detect.pyz has it as JSON too, since Python before 3.11 reads no TOML by itself."""
    try:
        ready = pkgutil.get_data(__name__, path.replace(".toml", ".json"))
    except OSError:
        ready = None
    if ready is not None:
        return dict(json.loads(ready.decode()))
    content = pkgutil.get_data(__name__, path)
    assert content is not None, path
    return load_toml(content.decode(), path)
