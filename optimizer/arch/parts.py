"""What every part of a detector can do: say its kind, its JSON and which of its widths may be pruned."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

from optimizer.errors import DetoptError, InputError

__all__ = ["Form", "IllegalAction", "Part", "drop_usual", "later_field"]

P = TypeVar("P", bound="Part")


class IllegalAction(DetoptError):
    """An action that this architecture does not admit."""


@dataclass(frozen=True)
class Form:
    """What a detector is like that another project's weights are for, besides its shapes.

    Attributes:
        early_stride: as of a bottleneck's `BlockSpec`. coarser: as of an `FpnSpec`.
        anchor_scale: as of a head, with exact anchors.
    """

    early_stride: bool
    coarser: str
    anchor_scale: int


def later_field(usual: Any) -> Any:
    """A field that came later, and whose usual value is not written, so that no id has moved since."""
    return field(default=usual, metadata={"later": True})


def drop_usual(value: Any, written: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a dataclass without those of its `later_field`s that have their usual value."""
    usual = {
        item.name for item in fields(value) if "later" in item.metadata and getattr(value, item.name) == item.default
    }
    return {name: part for name, part in written.items() if name not in usual}


@dataclass(frozen=True)
class Part(ABC):
    """A body, a neck or a head; a frozen dataclass whose fields are its JSON.

    Attributes:
        kind: its key in the catalogue of bodies, necks or heads.
        width_fields: widths that may be pruned, as a person calls them ("RPN"), and the field of each ("rpn_width").
    """

    kind: ClassVar[str]
    width_fields: ClassVar[Mapping[str, str]] = {}

    @property
    def widths(self) -> dict[str, int]:
        """The widths that may be pruned, by name."""
        return {name: getattr(self, field) for name, field in self.width_fields.items()}

    def with_width(self: P, name: str, width: int) -> P:
        """The same part with one of its `widths` changed."""
        changes: dict[str, Any] = {self.width_fields[name]: width}
        return replace(self, **changes)

    def take_form(self: P, form: Form) -> P:
        """The same part in this form; `InputError` where weights of such a form are not for it."""
        raise InputError(
            "such weights are for a ResNet with an FPN (--base r50 or r101) under a faster_rcnn with --box-head fc2 or "
            f"a retinanet, not for a {self.kind}"
        )

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **drop_usual(self, asdict(self))}

    @classmethod
    def from_json(cls: type[P], value: Mapping[str, Any]) -> P:
        """The part with these fields, its kind left out; `TypeError` where one is missing or unknown."""
        return cls(**value)
