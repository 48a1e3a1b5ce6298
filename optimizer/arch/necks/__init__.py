"""Necks: what turns a body's maps into those that a head reads. One file per kind, and a line here."""

from collections.abc import Mapping

from optimizer.arch.necks.base import Neck
from optimizer.arch.necks.fpn import FpnSpec

__all__ = ["NECKS", "FpnSpec", "Neck"]

NECKS: Mapping[str, type[Neck]] = {"fpn": FpnSpec}
