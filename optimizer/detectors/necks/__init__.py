"""Modules of necks, by the kind of the spec they are built from. One file per kind, and a line here.

A module turns the body's maps into those that the head reads, both by name and the finest first. In a detector its
tensors are named ``backbone.<kind>...``.
"""

from collections.abc import Callable, Mapping

from torch import nn

from optimizer.arch.spec import ArchSpec
from optimizer.detectors.necks.fpn import Fpn

__all__ = ["NECKS", "Fpn"]

NECKS: Mapping[str, Callable[[ArchSpec], nn.Module]] = {"fpn": Fpn}
