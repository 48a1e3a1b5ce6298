"""The JSON of an architecture as version 0.1.0 wrote it (schema 1): it is still read, and ids are still made from it.

It had neither a schema number nor parts: one flat object for a ResNet with an FPN under a Faster R-CNN or a RetinaNet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["flat_from_parts", "parts_from_flat"]

BODY, NECK, HEADS = "resnet", "fpn", ("faster_rcnn", "retinanet")  # all the kinds there were
LATER = {"box_head", "exact_anchors", "coarser", "early_stride"}  # fields there were not


def parts_from_flat(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Canvas, body, neck and head of a flat object; `KeyError` or `TypeError` where it is not one."""
    return {
        "input_size": flat["input_size"],
        "body": {"kind": BODY, "stages": flat["stages"], "stem_width": flat["stem_width"]},
        "neck": {"kind": NECK, "width": flat["fpn_width"]},
        "head": {**flat["head"], "anchor_scale": flat["anchor_scale"]},
    }


def flat_from_parts(parts: Mapping[str, Any]) -> dict[str, Any] | None:
    """The inverse; None for kinds, and for forms of blocks, neck and head, that version 0.1.0 did not have."""
    body, neck, head = dict(parts["body"]), dict(parts["neck"]), dict(parts["head"])
    if (body.pop("kind"), neck.pop("kind")) != (BODY, NECK) or head["kind"] not in HEADS:
        return None
    blocks = (block for stage in body["stages"] for block in stage["blocks"])
    if LATER & {*neck, *head, *(name for block in blocks for name in block)}:
        return None
    flat = {"input_size": parts["input_size"], "fpn_width": neck.pop("width"), "anchor_scale": head.pop("anchor_scale")}
    assert not neck, f"{neck} has no place in the JSON that ids are made from"
    return {**flat, **body, "head": head}
