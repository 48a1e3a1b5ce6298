"""Modules of necks, by the kind of the spec they are built from. One file per kind, and a line here.

A module turns the body's maps into those that the head reads, both by name and the finest first. In a detector its
tensors are named ``backbone.<kind>...``. It is made in two steps, because the order of random first weights is part of
what a seed means: an entry draws what comes before the body's weights, and what it returns draws the rest.
"""

from collections.abc import Callable, Mapping

from torch import nn

from optimizer.arch.spec import ArchSpec
from optimizer.detectors.necks.deconv import Deconv, prepare_deconv
from optimizer.detectors.necks.fpn import Fpn, prepare_fpn

__all__ = ["NECKS", "Deconv", "Fpn"]

NECKS: Mapping[str, Callable[[ArchSpec], Callable[[], nn.Module]]] = {"fpn": prepare_fpn, "deconv": prepare_deconv}
