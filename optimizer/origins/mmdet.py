"""mmdetection from version 2 on: Faster R-CNN and RetinaNet with FPN, as its `_base_` configurations build them.

Its ResNets have torchvision's names. Style "pytorch" is torchvision's, "caffe" MSRA's by way of detectron2.
"""

from dataclasses import replace

from optimizer.origins.base import Origin

__all__ = ["MMDET", "MMDET_CAFFE"]

BOX = r"roi_head\.bbox_head\."
DENSE = r"bbox_head\."

MMDET = Origin(
    name="mmdet",
    title="mmdetection with torchvision's ResNet (style pytorch)",
    mark="backbone.layer1.",
    names={
        r"backbone\.": "backbone.body.",
        r"neck\.lateral_convs\.(\d)\.conv\.": r"backbone.fpn.inner_blocks.\1.0.",
        r"neck\.fpn_convs\.(\d)\.conv\.": r"backbone.fpn.layer_blocks.\1.0.",
        r"rpn_head\.rpn_conv\.(?=weight|bias)": "rpn.head.conv.0.0.",
        r"rpn_head\.rpn_cls\.": "rpn.head.cls_logits.",
        r"rpn_head\.rpn_reg\.": "rpn.head.bbox_pred.",
        rf"{BOX}shared_fcs\.0\.": "roi_heads.box_head.fc6.",
        rf"{BOX}shared_fcs\.1\.": "roi_heads.box_head.fc7.",
        rf"{BOX}fc_cls\.": "roi_heads.box_predictor.cls_score.",
        rf"{BOX}fc_reg\.": "roi_heads.box_predictor.bbox_pred.",
        rf"{DENSE}cls_convs\.(\d)\.conv\.": r"head.classification_head.conv.\1.0.",
        rf"{DENSE}reg_convs\.(\d)\.conv\.": r"head.regression_head.conv.\1.0.",
        rf"{DENSE}retina_cls\.": "head.classification_head.cls_logits.",
        rf"{DENSE}retina_reg\.": "head.regression_head.bbox_reg.",
    },
    names_by_head={
        "faster_rcnn": {},
        "retinanet": {
            r"neck\.fpn_convs\.3\.conv\.": "backbone.fpn.extra_blocks.p6.",
            r"neck\.fpn_convs\.4\.conv\.": "backbone.fpn.extra_blocks.p7.",
        },
    },
    left_out=r".*\.num_batches_tracked$",
    caffe=False,
    coarser="body linear",
    class_keys=(("CLASSES",), ("dataset_meta", "classes"), ("dataset_meta", "CLASSES")),
)

MMDET_CAFFE = replace(
    MMDET,
    name="mmdet-caffe",
    title="mmdetection with MSRA's ResNet (style caffe: BGR, strides on the 1x1 convolutions)",
    caffe=True,
)
