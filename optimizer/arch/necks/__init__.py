"""Necks: what turns a body's maps into those that a head reads. One file per kind, and a line here."""

from collections.abc import Mapping

from optimizer.arch.heads.base import Head
from optimizer.arch.necks.base import Neck
from optimizer.arch.necks.deconv import DeconvSpec
from optimizer.arch.necks.fpn import FpnSpec

__all__ = ["NECKS", "DeconvSpec", "FpnSpec", "Neck", "usual_neck"]

NECKS: Mapping[str, type[Neck]] = {"fpn": FpnSpec, "deconv": DeconvSpec}


def usual_neck(head: Head) -> Neck:
    """The unpruned neck that a head wants."""
    return NECKS[head.neck]()
