"""Heads find objects on the maps of a neck; a detector is named by its head. One file per kind, and a line here."""

from collections.abc import Mapping

from optimizer.arch.heads.base import Head, Levels
from optimizer.arch.heads.centernet import CenterNetHead
from optimizer.arch.heads.faster_rcnn import FasterRCNNHead
from optimizer.arch.heads.retinanet import RetinaNetHead

__all__ = ["HEADS", "CenterNetHead", "FasterRCNNHead", "Head", "Levels", "RetinaNetHead"]

HEADS: Mapping[str, type[Head]] = {
    "faster_rcnn": FasterRCNNHead,
    "retinanet": RetinaNetHead,
    "centernet": CenterNetHead,
}
