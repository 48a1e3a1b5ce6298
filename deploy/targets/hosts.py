"""The user's own hosts: which board a target is, in a file that no project and no run carries around."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from deploy.errors import InputError
from deploy.reading import read_plain
from deploy.targets.parse import make_target
from deploy.targets.spec import LinkSpec, TargetSpec
from deploy.toml import load_toml

__all__ = ["apply_host", "find_hosts_file"]

FILE_LIMIT = 1 << 20  # bytes
KEYS = tuple(item.name for item in fields(LinkSpec) if item.name != "kind")


def find_hosts_file() -> Path:
    """``detopt/hosts.toml`` in the user's configuration folder; one table per target, as ``[jetson]``."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return (folder if folder.is_absolute() else Path.home() / ".config") / "detopt" / "hosts.toml"


def apply_host(spec: TargetSpec, host: str = "") -> TargetSpec:
    """The target with the host that is given, else its own, else the one of the user's hosts file.

    The rest of what that file says of the target holds for that host alone.

    Raises:
        InputError: the target is this machine and a host is given, it has none, or the file is wrong.
    """
    link = spec.link
    if link.kind != "ssh":
        if host:
            raise InputError(f"target {spec.name!r} is this machine; --host goes with a target that ssh reaches")
        return spec
    host, known = host or link.host, _read_host(spec.name)
    link = replace(link, **known) if host in ("", known.get("host")) else replace(link, host=host)
    if not link.host:
        raise InputError(
            f"target {spec.name!r} is a board, and no host is named: give --host user@board, or write into "
            f"{find_hosts_file()}: "
            f'[{spec.name}] and, on the next line, host = "user@board"'
        )
    return replace(spec, link=link)


def _read_host(name: str) -> dict[str, Any]:
    path = find_hosts_file()
    if not path.exists():
        return {}
    try:
        text = read_plain(path, FILE_LIMIT).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"the hosts file {path} cannot be read: {error}") from error
    tables = load_toml(text, str(path))
    for table, values in tables.items():
        if not isinstance(values, dict) or not set(values) <= set(KEYS):
            raise InputError(
                f"{path}: {table} is a table with the keys {', '.join(KEYS)}; passwords are in no file: "
                "use a key and ssh-copy-id"
            )
    values = dict(tables.get(name, {}))
    make_target({"name": name, **values}, f"{path}, {name}")  # for its errors
    return values
