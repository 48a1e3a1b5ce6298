"""detectron2: Faster R-CNN and RetinaNet with FPN, as its COCO-Detection configurations build them.

Its defaults are Caffe's ResNets of MSRA: BGR, means but no deviations, strides on the 1x1 convolutions. With
torchvision's ResNets people set RGB, ImageNet's deviations and STRIDE_IN_1X1 False.
"""

from dataclasses import replace

from optimizer.origins.base import Origin

__all__ = ["DETECTRON2", "DETECTRON2_TORCHVISION"]

BODY = r"backbone\.bottom_up\."
RPN = r"proposal_generator\.rpn_head\."
BOX = r"roi_heads\.box_"


def _name_stages() -> dict[str, str]:
    """The stages res2 to res5, each block's shortcut, and each convolution's `norm`."""
    names: dict[str, str] = {}
    for stage in range(1, 5):
        theirs, ours = rf"{BODY}res{stage + 1}\.(\d+)\.", rf"backbone.body.layer{stage}.\1."
        names |= {
            rf"{theirs}shortcut\.norm\.": f"{ours}downsample.1.",
            rf"{theirs}shortcut\.": f"{ours}downsample.0.",
            rf"{theirs}conv(\d)\.norm\.": rf"{ours}bn\2.",
            rf"{theirs}": ours,
        }
    return names


def _name_pyramid(finest: int) -> dict[str, str]:
    """Laterals and outputs, whose numbers are levels' there; ours begin at 0."""
    names = {}
    for level in range(finest, 6):
        names[rf"backbone\.fpn_lateral{level}\."] = f"backbone.fpn.inner_blocks.{level - finest}.0."
        names[rf"backbone\.fpn_output{level}\."] = f"backbone.fpn.layer_blocks.{level - finest}.0."
    return names


DETECTRON2 = Origin(
    name="detectron2",
    title="detectron2 with its default ResNet (MSRA's: BGR, strides on the 1x1 convolutions)",
    mark="backbone.bottom_up.",
    names={
        rf"{BODY}stem\.conv1\.norm\.": "backbone.body.bn1.",
        rf"{BODY}stem\.conv1\.": "backbone.body.conv1.",
        **_name_stages(),
        r"backbone\.top_block\.": "backbone.fpn.extra_blocks.",
        rf"{RPN}conv\.(?=weight|bias)": "rpn.head.conv.0.0.",
        rf"{RPN}objectness_logits\.": "rpn.head.cls_logits.",
        rf"{RPN}anchor_deltas\.": "rpn.head.bbox_pred.",
        rf"{BOX}head\.fc1\.": "roi_heads.box_head.fc6.",
        rf"{BOX}head\.fc2\.": "roi_heads.box_head.fc7.",
        **{rf"head\.cls_subnet\.{2 * at}\.": f"head.classification_head.conv.{at}.0." for at in range(4)},
        **{rf"head\.bbox_subnet\.{2 * at}\.": f"head.regression_head.conv.{at}.0." for at in range(4)},
        r"head\.cls_score\.": "head.classification_head.cls_logits.",
        r"head\.bbox_pred\.": "head.regression_head.bbox_reg.",
    },
    names_by_head={"faster_rcnn": _name_pyramid(2), "retinanet": _name_pyramid(3)},
    left_out=r"pixel_(mean|std)$|(proposal_generator\.)?anchor_generator\.cell_anchors\.\d+$|.*\.num_batches_tracked$",
    caffe=True,
    coarser="body",
    sides_first=True,
)

DETECTRON2_TORCHVISION = replace(
    DETECTRON2,
    name="detectron2-torchvision",
    title="detectron2 with torchvision's ResNet (RGB, ImageNet's deviations, strides on the 3x3 convolutions)",
    caffe=False,
)
