"""TOML by whichever reader is there; none of ours."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from deploy.errors import InputError

__all__ = ["load_toml"]


def load_toml(text: str, origin: str) -> dict[str, Any]:
    """The values in the text of a TOML file; an `InputError` where it is not TOML."""
    for name in ("tomllib", "tomli"):  # the first comes with Python 3.11
        try:
            module = import_module(name)
        except ImportError:
            continue
        try:
            return dict(module.loads(text))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{origin} is no TOML file: {error}") from error
    raise InputError("reading a target needs Python 3.11, or tomli: python3 -m pip install tomli")
