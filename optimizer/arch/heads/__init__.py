"""Heads find objects on the maps of a neck; a detector is named by its head. One file per kind, and a line here."""

from collections.abc import Mapping

from optimizer.arch.heads.base import Head, Levels
from optimizer.arch.heads.centernet import CenterNetHead
from optimizer.arch.heads.faster_rcnn import BOX_HEADS, FasterRCNNHead
from optimizer.arch.heads.retinanet import RetinaNetHead
from optimizer.errors import InputError

__all__ = ["BOX_HEADS", "HEADS", "CenterNetHead", "FasterRCNNHead", "Head", "Levels", "RetinaNetHead", "make_head"]

HEADS: Mapping[str, type[Head]] = {
    "faster_rcnn": FasterRCNNHead,
    "retinanet": RetinaNetHead,
    "centernet": CenterNetHead,
}


def make_head(name: str, input_size: tuple[int, int]) -> Head:
    """The unpruned head of a `Head.name` for a canvas (width, height).

    Raises:
        InputError: there is no such head.
    """
    kind, _, box_head = name.partition(" ")
    if kind not in HEADS:
        raise InputError(f"there is no detector {kind!r}; choose {' or '.join(HEADS)}")
    head = HEADS[kind].for_canvas(input_size)
    return head.choose_box_head(box_head) if box_head else head
