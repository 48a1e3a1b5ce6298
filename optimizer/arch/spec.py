"""`ArchSpec`: an immutable value that determines a detector's shape, and nothing else.

Actions map spec to spec, cost reads spec, detectors are built from spec, the store keeps its JSON. No torch here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from optimizer.arch.bodies import BODIES, AnyBody
from optimizer.arch.flat import flat_from_parts, parts_from_flat
from optimizer.arch.heads import HEADS, Head
from optimizer.arch.maps import FeatureMap
from optimizer.arch.necks import NECKS, Neck
from optimizer.arch.parts import Part
from optimizer.errors import InputError

__all__ = ["SCHEMA", "ArchSpec"]

P = TypeVar("P", bound=Part)

SCHEMA = 2  # of the JSON; 1 is that of version 0.1.0, which had no number
MIN_SIDE_PX = 64  # two cells on the stride-32 map


@dataclass(frozen=True)
class ArchSpec:
    """A whole detector: canvas, body, neck and head. Whoever needs to know something of a part asks that part.

    Attributes:
        input_size: canvas (width, height) in pixels.
    """

    input_size: tuple[int, int]
    body: AnyBody
    neck: Neck
    head: Head

    def __post_init__(self) -> None:
        if min(self.input_size) < MIN_SIDE_PX:
            raise InputError(
                f"input size {self.input_size[0]}x{self.input_size[1]} is too small for this network: "
                f"each side needs at least {MIN_SIDE_PX} pixels"
            )
        assert self.maps, "a neck whose body and head do not fit refuses them here"

    @property
    def body_maps(self) -> tuple[FeatureMap, ...]:
        """What the body puts out, the finest map first."""
        return self.body.maps(self.input_size)

    @property
    def maps(self) -> tuple[FeatureMap, ...]:
        """What the head reads, the finest map first."""
        return self.neck.maps(self.body_maps, self.head.levels)

    @property
    def outer_widths(self) -> dict[str, int]:
        """The widths of neck and head that may be pruned, by name ("FPN", "RPN")."""
        return {**self.neck.widths, **self.head.widths}

    @property
    def arch_id(self) -> str:
        """First 12 hex digits of a SHA-256: equal specs, equal id, in any process and any release.

        The rule: what is hashed is canonical JSON (sorted keys, no spaces), in the flat form of version 0.1.0 for every
        detector that it could describe, so that no id has moved since, and in the present form (`to_text`) for others.
        """
        flat = flat_from_parts(self.to_json())
        text = self.to_text() if flat is None else _write_canonical(flat)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def with_size(self, width: int, height: int) -> ArchSpec:
        return replace(self, input_size=(width, height))

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "input_size": self.input_size,
            "body": self.body.to_json(),
            "neck": self.neck.to_json(),
            "head": self.head.to_json(),
        }

    def to_text(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return _write_canonical(self.to_json())

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ArchSpec:
        """The inverse of `to_json`, which reads the flat JSON of version 0.1.0 as well.

        Raises:
            InputError: something is missing or unknown, or a later release wrote this.
        """
        try:
            schema = value.get("schema", 1)
            if schema not in (1, SCHEMA):
                raise InputError(f"an architecture of schema version {schema}; this release reads 1 and {SCHEMA}")
            parts = parts_from_flat(value) if schema == 1 else value
            return ArchSpec(
                input_size=(int(parts["input_size"][0]), int(parts["input_size"][1])),
                body=_read_part(BODIES, parts["body"]),
                neck=_read_part(NECKS, parts["neck"]),
                head=_read_part(HEADS, parts["head"]),
            )
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            raise InputError(f"not an architecture: {error!r}") from error


def _read_part(catalogue: Mapping[str, type[P]], value: Mapping[str, Any]) -> P:
    fields = dict(value)
    return catalogue[fields.pop("kind")].from_json(fields)


def _write_canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
