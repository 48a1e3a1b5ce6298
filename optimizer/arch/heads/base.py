"""What a head answers for: the maps it reads, its cost, its channels, and its region proposals where it has them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from optimizer.arch.channels import ChannelSet, OuterLayer
from optimizer.arch.cost import Cost
from optimizer.arch.maps import FeatureMap
from optimizer.arch.parts import Part
from optimizer.errors import InputError

__all__ = ["Head", "Levels", "choose_anchor_scale"]

H = TypeVar("H", bound="Head")


@dataclass(frozen=True)
class Levels:
    """The maps a head reads.

    Attributes:
        strides: of the maps, the finest first.
        coarser: how a neck makes those that are coarser than the body's last: by max-pooling, or by convolutions.
    """

    strides: tuple[int, ...]
    coarser: Literal["pool", "conv"] = "pool"


@dataclass(frozen=True)
class Head(Part):
    """Everything behind the neck.

    Attributes:
        levels: the maps it reads.
        neck: the kind of neck that makes them, where nothing else is said.
        readable: what distillers can read of its detectors, by the names in `optimizer.distill.base`.
    """

    levels: ClassVar[Levels]
    neck: ClassVar[str] = "fpn"
    readable: ClassVar[frozenset[str]] = frozenset(("body", "neck"))

    @classmethod
    def for_canvas(cls: type[H], input_size: tuple[int, int]) -> H:
        """The unpruned head for a canvas (width, height)."""
        return cls()

    @property
    def region_proposals(self) -> int | None:
        """Region proposals an image; None for a head of one stage."""
        return None

    @property
    def name(self) -> str:
        """What weights that fit it are published as: its kind, and how it differs from that kind's usual form."""
        return self.kind

    def choose_box_head(self: H, name: str) -> H:
        """The same head with box layers of another form; `InputError` where it has none, or knows no such form."""
        raise InputError(f"a {self.kind} has no box head to choose: leave {name} out")

    def propose(self: H, count: int) -> H:
        """The same head with so many region proposals; itself where it has none."""
        return self

    @property
    def region_anchor_scale(self) -> int | None:
        """Scale of the anchors by whose numbers its regions are known to distillers; None where regions are boxes."""
        return None

    @abstractmethod
    def count_parts(self, maps: Sequence[FeatureMap], num_classes: int) -> dict[str, Cost]:
        """Cost by part ("rpn", "head") on the maps it reads."""

    @abstractmethod
    def name_readers(self) -> tuple[OuterLayer, ...]:
        """The layers that read the neck's maps."""

    @abstractmethod
    def channel_sets(self, in_width: int) -> list[ChannelSet]:
        """Every prunable set of channels within the head, which reads maps of this width."""


def choose_anchor_scale(input_size: tuple[int, int]) -> int:
    """The papers' 8 on a canvas of at least 600 pixels, 4 on smaller ones, whose objects are smaller too."""
    return 8 if min(input_size) >= 600 else 4
