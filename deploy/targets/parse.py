"""Target files: flat keys, as users have written them since version 0.1.0, read into a nested value here alone.

Nothing else that is kept or sent has these keys: a run and a record store a target's name, and a board is told what to
do in the words of `deploy.targets.agent`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Mapping

from deploy.builders.releases import RELEASES
from deploy.errors import InputError
from deploy.measuring.clocks import LOCK_CLOCKS
from deploy.measuring.protocols import EXTRAS, MODES
from deploy.targets.spec import PRECISIONS, EngineSpec, LinkSpec, MeasuringSpec, TargetSpec
from deploy.toml import load_toml

__all__ = ["KEYS", "make_target", "parse_target"]

WHOLE = ""
PARTS: dict[str, type] = {"link": LinkSpec, "engine": EngineSpec, "measuring": MeasuringSpec}
RENAMED = {("link", "kind"): "link", ("engine", "name"): "engine"}
KEYS: dict[str, tuple[str, str]] = {  # where the value of a key belongs: the part, and the name there
    "name": (WHOLE, "name"),
    **{
        RENAMED.get((part, item.name), item.name): (part, item.name)
        for part, kind in PARTS.items()
        for item in fields(kind)
    },
    "description": (WHOLE, "description"),
}
TEXTS = (
    "link", "engine", "nms", "roi_align", "description", "tensorrt", "host", "python", "cache", "ssh_config", "key",
)  # fmt: skip
OF_THE_USER = ("ssh_config", "port", "key")  # what runs here, and what is shown to whom: no file of others says it


def parse_target(text: str, origin: str) -> TargetSpec:
    """The spec in the text of a TOML file; ``origin`` names the file in errors.

    Raises:
        InputError: it is no TOML, a key is unknown or for the user's own hosts file, or a value is of the wrong kind.
    """
    values = load_toml(text, origin)
    for key in OF_THE_USER:
        if key in values:
            raise InputError(
                f"{origin}: {key} is taken only from your own hosts file, since a target file may come from others; "
                f"leave host and {key} out of it and write both into detopt/hosts.toml in ~/.config"
            )
    return make_target(values, origin)


def make_target(values: Mapping[str, Any], origin: str) -> TargetSpec:
    """The spec of these values; errors as `parse_target`."""
    unknown = sorted(set(values) - set(KEYS))
    if unknown or not isinstance(values.get("name"), str):
        found = "unknown: " + ", ".join(unknown) if unknown else "it has no name"
        raise InputError(f"{origin} does not describe a target: {found}; its keys are {', '.join(KEYS)}")
    for key in TEXTS:
        if not isinstance(values.get(key, ""), str):
            raise InputError(f"{origin}: {key} is a text, not {values[key]!r}")
    threads, precisions = values.get("threads"), values.get("precisions", ["fp32"])
    if threads is not None and (type(threads) is not int or threads < 1):
        raise InputError(f"{origin}: threads is a positive whole number, not {threads!r}")
    port = values.get("port")
    if port is not None and (type(port) is not int or not 0 < port < 65536):
        raise InputError(f"{origin}: port is a number from 1 to 65535, not {port!r}")
    for key, known_values in (("mode", tuple(MODES)), ("lock_clocks", LOCK_CLOCKS)):
        if values.get(key, known_values[0]) not in known_values:
            raise InputError(f"{origin}: {key} is one of {', '.join(known_values)}, not {values[key]!r}")
    also = values.get("also", [])
    if not isinstance(also, list) or not all(isinstance(item, str) and item in EXTRAS for item in also):
        raise InputError(f"{origin}: also is a list of some of {', '.join(EXTRAS)}, not {also!r}")
    if not isinstance(precisions, list) or not precisions or not all(isinstance(item, str) for item in precisions):
        raise InputError(f"{origin}: precisions is a list of names, not {precisions!r}")
    strange = [item for item in precisions if item not in PRECISIONS]
    if strange:
        raise InputError(f"{origin}: unknown precision {strange[0]!r}; there are: {', '.join(PRECISIONS)}")
    if "tensorrt" in values and values["tensorrt"] not in RELEASES:
        raise InputError(
            f"{origin}: exports can be checked against TensorRT {', '.join(RELEASES)}, not {values['tensorrt']}; "
            "name the one nearest to the device's"
        )
    return _nest({**values, "precisions": tuple(precisions), "also": tuple(also)})


def _nest(values: Mapping[str, Any]) -> TargetSpec:
    """The spec of values that were checked, each put where `KEYS` says."""
    found: dict[str, dict[str, Any]] = {part: {} for part, _ in KEYS.values()}
    for key, value in values.items():
        part, name = KEYS[key]
        found[part][name] = value
    return TargetSpec(**{part: kind(**found[part]) for part, kind in PARTS.items()}, **found[WHOLE])
