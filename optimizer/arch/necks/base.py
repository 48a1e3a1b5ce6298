"""What a neck answers for: the maps it makes of a body's for a head, their cost, and the channels that go together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from optimizer.arch.channels import ChannelSet, OuterLayer
from optimizer.arch.cost import Cost
from optimizer.arch.heads.base import Levels
from optimizer.arch.maps import FeatureMap
from optimizer.arch.parts import Part

__all__ = ["Neck"]


@dataclass(frozen=True)
class Neck(Part):
    """Between body and head. Every method is told the body's maps, the finest first, and the levels the head reads.

    Attributes:
        title: what a person calls it.
    """

    title: ClassVar[str]

    @abstractmethod
    def maps(self, body_maps: Sequence[FeatureMap], levels: Levels) -> tuple[FeatureMap, ...]:
        """One map for each of the head's levels; `InputError` where this body has not what it takes."""

    @abstractmethod
    def count(self, body_maps: Sequence[FeatureMap], levels: Levels) -> Cost:
        """Cost of the neck."""

    @abstractmethod
    def name_readers(self, body_maps: Sequence[FeatureMap], levels: Levels) -> dict[int, tuple[OuterLayer, ...]]:
        """The layers that read each of the body's maps, by the map's number; unused maps are not in it."""

    @abstractmethod
    def channel_sets(
        self, body_maps: Sequence[FeatureMap], levels: Levels, readers: tuple[OuterLayer, ...]
    ) -> list[ChannelSet]:
        """Every prunable set of channels within the neck, whose maps are read by the head's `readers`."""
