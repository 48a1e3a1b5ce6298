"""Slim networks in place of those that a run knows by name: all else is real, and a run takes seconds.

Depths, choices and names are the real ones, so that a super-network has as many members; only widths differ.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import pytest

from optimizer.arch import families, ofa_space, paths, pool
from optimizer.arch.bodies.ofa_resnet import OfaShape
from optimizer.arch.bodies.resnet import make_resnet
from optimizer.arch.heads import Head, make_head
from optimizer.arch.necks import Neck, usual_neck

__all__ = ["slim_down"]

WIDTH = 32  # of necks and heads
R18 = make_resnet((2, 2, 2, 2), ((16, 16), (24, 24), (32, 32), (48, 48)))
SHUFFLENET = replace(families.PATH_SPACES["shufflenetv2_20"], widths=(24, 32, 48, 64))
OFA = OfaShape((1, 1, 2, 1), (1, 1, 1, 1), (64, 128, 256, 512), 32, 16)

Part = TypeVar("Part", Head, Neck)


def slim_down(patch: pytest.MonkeyPatch) -> None:
    """Until the patch is undone, this process makes slim networks."""
    patch.setitem(families.PATH_SPACES, "shufflenetv2_20", SHUFFLENET)  # type: ignore[arg-type]
    patch.setitem(families.OFA_SHAPES, "ofa_resnet50", OFA)  # type: ignore[arg-type]
    bodies = {"r18": R18, "shufflenetv2_20": SHUFFLENET.make((0,) * 20), "ofa_resnet50": OFA.largest()}
    for name, body in bodies.items():
        patch.setitem(families.FAMILIES, name, body)  # type: ignore[arg-type]
    for module in (families, ofa_space, paths, pool):
        patch.setattr(module, "make_head", lambda name, size: _slim(make_head(name, size)))
        patch.setattr(module, "usual_neck", lambda head: _slim(usual_neck(head)))


def _slim(part: Part) -> Part:
    for name in part.widths:
        part = part.with_width(name, WIDTH)
    return part
