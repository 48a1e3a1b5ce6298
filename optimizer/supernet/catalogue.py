"""The kinds of super-network. Not in ``__init__``, which imports nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizer.errors import InputError
from optimizer.supernet.config import SupernetConfig
from optimizer.supernet.elastic_config import ElasticConfig
from optimizer.supernet.ofa_config import OfaConfig
from optimizer.supernet.path_config import PathConfig

__all__ = ["SUPERNETS", "config_from_json"]

SUPERNETS: dict[str, type[SupernetConfig]] = {"elastic": ElasticConfig, "path": PathConfig, "ofa": OfaConfig}


def config_from_json(value: Mapping[str, Any]) -> SupernetConfig:
    """The recipe of a super-network of any kind; one that names no kind is elastic, as version 0.1.0 wrote it.

    Raises:
        InputError: the kind is unknown.
        pydantic.ValidationError: a field is missing or not what the kind takes.
    """
    kind = value.get("kind", "elastic")
    if kind not in SUPERNETS:
        raise InputError(f"there is no kind of super-network {kind!r}; there are: {', '.join(SUPERNETS)}")
    return SUPERNETS[kind].model_validate(value)
