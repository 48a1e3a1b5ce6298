"""A body and a head of a new kind are one file and one line each: these two live here, and no other file knows them."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from deploy import Detector as DeployedDetector
from deploy import ModelSource, Preprocess
from deploy.data import read_dataset
from deploy.export import OnnxGraphOps, check_parity, export_onnx
from optimizer.arch import ArchSpec, FasterRCNNHead, FpnSpec, PruneChannels, PruneFPN, Space, count, legal_actions
from optimizer.arch.bodies import BODIES, Block, Body, Layer, Position, ResNetSpec, StageSpec
from optimizer.arch.bodies.resnet import lay_out_stages
from optimizer.arch.channels import ChannelGroup, ChannelSet
from optimizer.arch.cost import Cost, count_conv
from optimizer.arch.heads import HEADS, Head, Levels
from optimizer.arch.maps import FeatureMap
from optimizer.data.loader import TrainLoader
from optimizer.data.shapes import write_shapes
from optimizer.detectors import DETECTORS, Detector, GraphOps, Prediction, RegionView, Truth, build_detector
from optimizer.detectors.backbone import Backbone
from optimizer.detectors.bodies import BODIES as BODY_MODULES
from optimizer.morph import morph
from optimizer.train.config import TrainConfig
from optimizer.train.loop import train
from optimizer.train.steps import DetectionStep

SIZE = (96, 64)
CLASSES = 4


@dataclass(frozen=True)
class PlainBlock(Block):
    """One 3x3 convolution; there is no shortcut."""

    def count(self, incoming: FeatureMap) -> Cost:
        cells = self.put_out(incoming).cells
        return count_conv(incoming.width, self.out_width, 3, cells, norm=True, relu=True)

    def list_layers(self, in_width: int) -> list[Layer]:
        return [Layer("conv", "norm", (self.out_width, in_width, 3, 3), writes=0, reads=None)]


@dataclass(frozen=True)
class PlainSpec(Body[PlainBlock]):
    """A 4x4 stem of stride 4, and stages of plain convolutions."""

    kind = "plain"

    @classmethod
    def from_json(cls, value):
        stages = [
            StageSpec(tuple(PlainBlock(tuple(block["widths"]), block["stride"]) for block in stage["blocks"]))
            for stage in value["stages"]
        ]
        return cls(tuple(stages), value["stem_width"])

    def stem_map(self, input_size: tuple[int, int]) -> FeatureMap:
        return FeatureMap.of_canvas(input_size).halve().halve().widen(self.stem_width)

    def count_stem(self, input_size: tuple[int, int]) -> Cost:
        return count_conv(3, self.stem_width, 4, self.stem_map(input_size).cells, bias=True)

    def name_block(self, position: Position) -> str:
        return "stages.{}.{}".format(*position)

    def name_norm(self, group: str) -> str:
        return f"stages.{group}.norm"

    def channel_groups(self) -> tuple[ChannelGroup, ...]:
        return tuple(
            ChannelGroup((f"{stage}.{index}",), block.out_width, ((stage, index, 0),))
            for stage, index, block in self.blocks()
        )


class Plain(nn.Module):
    def __init__(self, spec: PlainSpec) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, spec.stem_width, 4, 4)
        self.stages = nn.ModuleList()
        width = spec.stem_width
        for stage in spec.stages:
            blocks = nn.Sequential()
            for block in stage.blocks:
                layers = OrderedDict(
                    conv=nn.Conv2d(width, block.out_width, 3, block.stride, 1, bias=False),
                    norm=nn.BatchNorm2d(block.out_width),
                    relu=nn.ReLU(),
                )
                blocks.append(nn.Sequential(layers))
                width = block.out_width
            self.stages.append(blocks)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        x, maps = self.stem(images), OrderedDict()
        for index, stage in enumerate(self.stages):
            x = maps[str(index)] = stage(x)
        return maps


@dataclass(frozen=True)
class CellsHead(Head):
    """Classes and a box for each cell of two maps, behind one shared 3x3 convolution."""

    kind = "cells"
    levels = Levels((16, 32))
    width_fields = {"hidden layer": "width"}
    width: int = 16

    def count_parts(self, maps: Sequence[FeatureMap], num_classes: int) -> dict[str, Cost]:
        cells = sum(level.cells for level in maps)
        return {
            "head": count_conv(maps[0].width, self.width, 3, cells, bias=True, relu=True)
            + count_conv(self.width, num_classes + 4, 1, cells, bias=True)
        }

    def name_readers(self) -> tuple[str, ...]:
        return ("hidden",)

    def channel_sets(self, in_width: int) -> list[ChannelSet]:
        return [ChannelSet(self.width, ("hidden",), ("last",))]


class Cells(Detector):
    """An object belongs to the cell that its centre is in; the box is the cell's centre with four distances."""

    def __init__(self, arch: ArchSpec, num_classes: int) -> None:
        super().__init__()
        self.arch, self.num_classes = arch, num_classes
        self.backbone = Backbone(arch)
        self.hidden = nn.Conv2d(arch.maps[0].width, arch.head.width, 3, 1, 1)
        self.last = nn.Conv2d(arch.head.width, num_classes + 4, 1)

    def look(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, N, classes), distances (B, N, 4) and centres (N, 2) of all cells."""
        outputs, centres = [], []
        for level, stride in zip(self.backbone(images).values(), self.arch.head.levels.strides):
            found = self.last(functional.relu(self.hidden(level)))
            rows, columns = int(found.shape[-2]), int(found.shape[-1])
            y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            centres.append((torch.stack((x, y), -1).reshape(-1, 2) + 0.5) * stride)
            outputs.append(found.flatten(2).transpose(1, 2))
        cells = torch.cat(outputs, 1)
        return cells[..., : self.num_classes], cells[..., self.num_classes :].exp() * 8, torch.cat(centres)

    def losses_and_regions(
        self, images: Tensor, truths: list[Truth], with_view: bool = False
    ) -> tuple[dict[str, Tensor], list[Tensor], RegionView | None]:
        logits, distances, centres = self.look(images)
        wanted, boxes = torch.zeros_like(logits), logits.new_zeros(())
        for image, truth in enumerate(truths):
            for box, label in zip(truth.boxes_xyxy, truth.labels):
                nearest = (centres - (box[:2] + box[2:]) / 2).abs().sum(1).argmin()
                wanted[image, nearest, label] = 1
                sides = torch.cat((centres[nearest] - box[:2], box[2:] - centres[nearest]))
                boxes = boxes + (distances[image, nearest] - sides).abs().mean() / 8
        return {"cells": functional.binary_cross_entropy_with_logits(logits, wanted), "boxes": boxes}, [], None

    def raw(self, images: Tensor, ops: GraphOps, max_detections: int = 100) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        logits, distances, centres = self.look(images)
        boxes = torch.cat((centres - distances[0, :, :2], centres + distances[0, :, 2:]), 1)
        return ops.class_nms(boxes[:, None], logits[0].sigmoid(), 0.05, 0.5, max_detections)

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Prediction]:
        found = []
        for image in images:
            boxes, scores, labels, number = self.raw(image[None], OnnxGraphOps())
            found.append(Prediction(boxes[: int(number)], scores[: int(number)], labels[: int(number)]))
        return found


@pytest.fixture(autouse=True)
def in_the_catalogues(monkeypatch: pytest.MonkeyPatch) -> None:
    """The four lines: a spec and a module of each."""
    monkeypatch.setitem(BODIES, "plain", PlainSpec)
    monkeypatch.setitem(BODY_MODULES, "plain", Plain)
    monkeypatch.setitem(HEADS, "cells", CellsHead)
    monkeypatch.setitem(DETECTORS, "cells", Cells)


def plain_body() -> PlainSpec:
    stages = [StageSpec((PlainBlock((8 + 8 * n,), 1 if n == 0 else 2), PlainBlock((8 + 8 * n,)))) for n in range(4)]
    return PlainSpec(tuple(stages), stem_width=8)


def make_archs() -> dict[str, ArchSpec]:
    """Both toys, and each with a partner that never heard of it."""
    small = FasterRCNNHead(rpn_width=16, box_width=16, region_proposals=20, anchor_scale=4)
    resnet = ResNetSpec(lay_out_stages([[(16, 16)], [(16, 24)], [(24, 24)], [(24, 32)]], [[0]] * 4))
    return {
        "both": ArchSpec(SIZE, plain_body(), FpnSpec(16), CellsHead(16)),
        "body": ArchSpec(SIZE, plain_body(), FpnSpec(16), small),
        "head": ArchSpec(SIZE, resnet, FpnSpec(16), CellsHead(16)),
    }


@pytest.fixture(params=["both", "body", "head"])
def arch(request: pytest.FixtureRequest) -> ArchSpec:
    return make_archs()[request.param]


@pytest.fixture
def detector(arch: ArchSpec) -> Iterator[Detector]:
    yield build_detector(arch, CLASSES, seed=1)


def test_it_is_a_value_with_json_and_an_id(arch: ArchSpec) -> None:
    assert ArchSpec.from_json(json.loads(arch.to_text())) == arch
    assert len({each.arch_id for each in make_archs().values()}) == 3


def test_it_is_counted(arch: ArchSpec, detector: Detector) -> None:
    image = torch.zeros(1, 3, SIZE[1], SIZE[0])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        detector.raw(image, OnnxGraphOps())
    cost = count(arch, CLASSES)
    assert counter.get_total_flops() // 2 == cost.macs
    assert sum(parameter.numel() for parameter in detector.parameters()) == cost.params


def test_it_is_trained(detector: Detector, tmp_path: Path) -> None:
    data = read_dataset(write_shapes(tmp_path / "data", train=4, val=1, size=SIZE, seed=0), "train")
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    loader = TrainLoader(data, Preprocess.imagenet(*SIZE), batch_size=2, seed=0, augment="none")
    config = TrainConfig(epochs=1, lr=1e-3, bn_l1=1e-5)
    result = train(detector, loader, DetectionStep(), config, device=torch.device("cpu"), seed=0)
    assert all(np.isfinite(loss) for _, loss in result.curve)
    moved = [name for name, tensor in detector.state_dict().items() if not torch.equal(tensor, before[name])]
    assert any(name.startswith("backbone.body") for name in moved)


def test_actions_say_themselves_whether_they_apply(arch: ArchSpec) -> None:
    space = Space(sizes=(SIZE, (64, 64)), region_proposals=(20,), min_width=4, min_neck_width=4, min_box_width=8)
    kinds = {action.kind for action in legal_actions(arch, space)}
    assert {"prune_channels", "prune_fpn", "resize"} <= kinds
    assert ("prune_rpn" in kinds) == (arch.head.kind == "faster_rcnn")
    assert ("add_layer" in kinds) == (arch.body.kind == "resnet")


def test_it_is_pruned_and_what_is_left_runs(arch: ArchSpec, detector: Detector) -> None:
    actions = [PruneChannels(0.3, 4, 4), PruneFPN(0.25, 4, 4)]
    student = morph(detector.state_dict(), arch, actions)
    assert count(student.arch).macs < count(arch).macs and student.arch.neck.widths == {"FPN": 12}
    pruned = build_detector(student.arch, CLASSES)
    pruned.load_state_dict(student.weights)
    assert len(pruned.eval().detect(torch.zeros(2, 3, SIZE[1], SIZE[0]))) == 2


def test_what_is_pruned_is_what_does_nothing() -> None:
    """The channels of the greatest scales stay, and whatever reads them follows: the maps are those there were."""
    arch = make_archs()["both"]
    detector = build_detector(arch, CLASSES, seed=1)
    weights = detector.state_dict()
    for group in arch.body.channel_groups():
        norm = f"backbone.body.{arch.body.name_norm(group.names[0])}"
        weights[f"{norm}.weight"][: group.width // 2] = 0
    detector.load_state_dict(weights)
    student = morph(weights, arch, [PruneChannels(0.5, 1, 1)])
    pruned = build_detector(student.arch, CLASSES)
    pruned.load_state_dict(student.weights)
    images = torch.randn(1, 3, SIZE[1], SIZE[0], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = detector.backbone(images), pruned.eval().backbone(images)
    assert student.arch.body.stages[0].out_width == 4
    torch.testing.assert_close([*after.values()], [*before.values()], rtol=1e-4, atol=1e-6)


def test_a_hidden_layer_is_narrowed_by_its_name() -> None:
    arch = make_archs()["both"]
    narrow = replace(arch, head=arch.head.with_width("hidden layer", 8))
    assert narrow.outer_widths["hidden layer"] == 8 and count(narrow).params < count(arch).params


def test_it_is_exported_and_decoded_on_the_device(arch: ArchSpec, detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "toy.onnx"
    report = export_onnx(detector, arch.input_size, path)
    canvas = np.random.default_rng(0).standard_normal((1, 3, SIZE[1], SIZE[0]), np.float32)
    parity = check_parity(detector, path, [canvas], head=report.head, selection=report.selection)
    assert parity.images == 3 and parity.detections > 10
    source = ModelSource(path, Preprocess.imagenet(*SIZE), report.head, report.selection)
    with DeployedDetector(source) as deployed:
        found = deployed(np.full((80, 120, 3), 127, np.uint8))
    assert 0 < len(found.scores) <= 100 and found.labels.max() < CLASSES
