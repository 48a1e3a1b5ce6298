"""A body and a head of a new kind are one file and one line each: `plain_body` and `cells_head` in `tests/parts`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cells_head import Cells, CellsHead
from plain_body import Plain, PlainBlock, PlainSpec
from torch.utils.flop_counter import FlopCounterMode

from deploy import Detector as DeployedDetector
from deploy import ModelSource, Preprocess
from deploy.data import read_dataset
from deploy.export import OnnxGraphOps, check_parity, export_onnx
from optimizer.arch import ArchSpec, FasterRCNNHead, FpnSpec, PruneChannels, PruneFPN, Space, count, legal_actions
from optimizer.arch.bodies import BODIES, ResNetSpec, StageSpec
from optimizer.arch.bodies.resnet import lay_out_stages
from optimizer.arch.heads import HEADS
from optimizer.data.loader import TrainLoader
from optimizer.data.shapes import write_shapes
from optimizer.detectors import DETECTORS, Detector, build_detector
from optimizer.detectors.bodies import BODIES as BODY_MODULES
from optimizer.morph import morph
from optimizer.train.config import TrainConfig
from optimizer.train.loop import train
from optimizer.train.steps import DetectionStep

SIZE = (96, 64)
CLASSES = 4


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
    result = train(detector, loader, DetectionStep(), config, seed=0)
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
