"""Targets: the devices models are for. One is added by a TOML file in `known` and a line in `TARGETS`."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import Callable, Dict

from deploy.engines import ENGINES
from deploy.errors import InputError
from deploy.targets.base import NMS_VARIANTS, Target, TargetSpec, parse_target
from deploy.targets.local import LocalTarget
from deploy.targets.ssh import SshTarget

__all__ = ["LINKS", "TARGETS", "Target", "TargetSpec", "get_target"]

TARGETS: Dict[str, str] = {"cpu": "known/cpu.toml"}
LINKS: Dict[str, Callable[[TargetSpec], Target]] = {"local": LocalTarget, "ssh": SshTarget}


def get_target(name: str) -> Target:
    """A known target by its name, or the one a TOML file describes.

    Raises:
        InputError: neither exists, or the file asks for a link, an engine or an NMS that this release does not have.
    """
    if name in TARGETS:
        content = pkgutil.get_data(__name__, TARGETS[name])  # also out of detect.pyz
        assert content is not None, name
        spec = parse_target(content.decode(), name)
    elif Path(name).suffix == ".toml":
        try:
            spec = parse_target(Path(name).read_text(encoding="utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError("the target file {} cannot be read: {}".format(name, error)) from error
    else:
        raise InputError(
            "unknown target {!r}; there are: {}; or give the path of a TOML file that describes one "
            '(a board: link = "ssh", host = "user@board")'.format(name, ", ".join(sorted(TARGETS)))
        )
    for what, value, known in (
        ("link", spec.link, set(LINKS)),
        ("engine", spec.engine, set(ENGINES)),
        ("nms", spec.nms, set(NMS_VARIANTS)),
    ):
        if value not in known:
            raise InputError(
                "target {!r} wants the {} {!r}; this release has: {}".format(
                    name, what, value, ", ".join(sorted(known))
                )
            )
    return LINKS[spec.link](spec)
