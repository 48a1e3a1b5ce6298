"""Our arithmetic against torch's FLOP counter and torchvision's own modules, on the meta device."""

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18, resnet50, resnet101
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from optimizer.arch import (
    ArchSpec,
    CenterNetHead,
    DeconvSpec,
    FasterRCNNHead,
    FpnSpec,
    PruneChannels,
    Rearrange,
    arch_from_encoding,
    base_arch,
    count,
    count_parts,
    uniform_importance,
)
from optimizer.detectors import build_detector

CLASSES = 3
SIZES = [(1333, 800), (320, 240), (65, 97)]


def build_resnext101() -> ResNet:
    return ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4)


RESNETS = {"r18": resnet18, "r50": resnet50, "r101": resnet101, "x101": build_resnext101}


def run_stages(resnet: ResNet, images: Tensor) -> list[Tensor]:
    maps = [resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(images))))]
    for stage in (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4):
        maps.append(stage(maps[-1]))
    return maps[1:]


def count_params(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def measure_macs(module: nn.Module, *inputs: object) -> tuple[int, object]:
    with FlopCounterMode(display=False) as counter:
        outputs = module(*inputs)
    return counter.get_total_flops() // 2, outputs


def measure_backbone(name: str, size: tuple[int, int]) -> tuple[int, int, list[Tensor]]:
    """MACs and parameters of torchvision's backbone without its classifier, and the maps of its stages."""
    resnet = RESNETS[name]()
    resnet.fc = nn.Identity()
    with FlopCounterMode(display=False) as counter:
        maps = run_stages(resnet, torch.empty(1, 3, size[1], size[0]))
    return counter.get_total_flops() // 2, count_params(resnet), maps


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RESNETS)
def test_faster_rcnn_costs_what_torchvision_s_parts_cost(name, size):
    parts = count_parts(base_arch(name, size, region_proposals=300), num_classes=CLASSES)
    with torch.device("meta"):
        macs, params, maps = measure_backbone(name, size)
        assert (parts["backbone"].macs, parts["backbone"].params) == (macs, params)

        neck = FeaturePyramidNetwork([level.shape[1] for level in maps], 256, LastLevelMaxPool())
        macs, pyramid = measure_macs(neck, OrderedDict((str(index), level) for index, level in enumerate(maps)))
        assert (parts["neck"].macs, parts["neck"].params) == (macs, count_params(neck))

        rpn = RPNHead(256, 3)
        macs, _ = measure_macs(rpn, list(pyramid.values()))
        assert (parts["rpn"].macs, parts["rpn"].params) == (macs, count_params(rpn))

        head = nn.Sequential(TwoMLPHead(256 * 7 * 7, 1024), FastRCNNPredictor(1024, CLASSES + 1))
        macs, _ = measure_macs(head, torch.empty(300, 256, 7, 7))
        assert (parts["head"].macs, parts["head"].params) == (macs, count_params(head))


def test_a_box_head_of_convolutions_costs_what_torchvisions_costs():
    part = count_parts(base_arch("r18", (320, 240), "faster_rcnn conv4fc1", 300), num_classes=CLASSES)["head"]
    with torch.device("meta"):
        convolved = FastRCNNConvFCHead((256, 7, 7), [256] * 4, [1024], norm_layer=nn.BatchNorm2d).eval()
        head = nn.Sequential(convolved, FastRCNNPredictor(1024, CLASSES + 1))
        macs, _ = measure_macs(head, torch.empty(300, 256, 7, 7))
    assert (part.macs, part.params) == (macs, count_params(head))
    per_roi = 4 * (9 * 256 + 3) * 256 * 49 + (256 * 49 + 1) * 1024 + 1024 * (5 * CLASSES + 1)  # the papers' counter
    assert part.flops_mmdet == 300 * per_roi


@pytest.mark.parametrize("size", SIZES)
def test_retinanet_costs_what_torchvision_s_parts_cost(size):
    parts = count_parts(base_arch("r50", size, "retinanet"), num_classes=CLASSES)
    with torch.device("meta"):
        macs, params, maps = measure_backbone("r50", size)
        assert (parts["backbone"].macs, parts["backbone"].params) == (macs, params)

        neck = FeaturePyramidNetwork([level.shape[1] for level in maps[1:]], 256, LastLevelP6P7(256, 256))
        macs, pyramid = measure_macs(neck, OrderedDict((str(index), level) for index, level in enumerate(maps[1:])))
        assert (parts["neck"].macs, parts["neck"].params) == (macs, count_params(neck))

        head = RetinaNetHead(256, 9, CLASSES)
        macs, _ = measure_macs(head, list(pyramid.values()))
        assert (parts["head"].macs, parts["head"].params) == (macs, count_params(head))


def make_students() -> dict[str, ArchSpec]:
    """Odd widths, moved blocks, whole groups, narrow necks and heads."""
    encoded = arch_from_encoding("[(9, 64)], [(33, 41)], [(7, 70)], [(50, 70)-(99, 90)-(3, 90)]", (320, 240))
    grouped = base_arch("x101", (97, 65))
    for action in (Rearrange(2, "last"), PruneChannels(0.3), Rearrange(1, "first")):
        grouped = action.apply(grouped, uniform_importance(grouped)).child
    return {
        "encoded": replace(encoded, neck=FpnSpec(48), head=FasterRCNNHead(32, 100, 77)),
        "grouped": grouped,
        "retinanet": replace(base_arch("r18", (320, 240), "retinanet"), neck=FpnSpec(40)),
        "centernet": replace(base_arch("r50", (320, 250), "centernet"), neck=DeconvSpec(50, 60, 70)),
    }


@pytest.mark.parametrize("name", ["encoded", "grouped", "retinanet", "centernet"])
def test_a_student_costs_what_its_detector_costs(name):
    arch = make_students()[name]
    width, height = arch.input_size
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        detector = build_detector(arch, CLASSES)
        maps = list(detector.backbone(torch.empty(1, 3, height, width)).values())
        if isinstance(arch.head, FasterRCNNHead):
            detector.rpn.head(maps)
            rois = torch.empty(arch.head.region_proposals, arch.neck.width, 7, 7)
            detector.roi_heads.box_predictor(detector.roi_heads.box_head(rois))
        elif isinstance(arch.head, CenterNetHead):
            for branch in detector.head.values():
                branch(*maps)
        else:
            detector.head(maps)

    cost = count(arch, CLASSES)
    assert cost.macs == counter.get_total_flops() // 2
    assert cost.params == sum(item.numel() for item in detector.parameters() if item.requires_grad)
