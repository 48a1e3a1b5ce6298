"""Weights under detectron2's and mmdetection's names give the outputs of a forward pass written with their conventions.

The forward passes are in `parts/foreign_detectors.py`; what is taken over is said in `optimizer.origins`.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from foreign_detectors import CLASSES, DEPTHS, PROPOSALS, SIDE, WIDTH, WIDTHS, Foreign
from torch import Tensor, nn

from deploy.pipeline.preprocess import Preprocess
from optimizer.arch.bodies.resnet import make_resnet
from optimizer.arch.families import base_arch
from optimizer.arch.spec import ArchSpec
from optimizer.detectors import Detector, build_detector
from optimizer.detectors.converted import COCO, load_converted, recognise
from optimizer.detectors.geometry import list_canvases
from optimizer.errors import InputError
from optimizer.origins import ORIGINS

ROOT = Path(__file__).resolve().parents[3]
NAMES = tuple(f"class {number}" for number in range(CLASSES))
BOTH = pytest.mark.parametrize("head", ["faster_rcnn", "retinanet"])
ALL = pytest.mark.parametrize("origin", sorted(ORIGINS))


def make_arch(origin: str, head: str) -> ArchSpec:
    arch = base_arch("r50", (SIDE, SIDE), head)
    narrow = arch.head
    if head == "faster_rcnn":
        narrow = replace(narrow, rpn_width=WIDTH, box_width=24, region_proposals=PROPOSALS)  # type: ignore[call-arg]
    arch = replace(arch, body=make_resnet(DEPTHS, WIDTHS), neck=replace(arch.neck, width=WIDTH), head=narrow)
    return ORIGINS[origin].form(arch)


def convert(foreign: Foreign, origin: str, folder: Path, names: tuple[str, ...] = NAMES) -> tuple[Detector, str]:
    torch.save({"model": foreign.state, "iteration": 9}, folder / "model.pth")
    detector = build_detector(make_arch(origin, foreign.head), len(names), seed=0)
    report = load_converted(detector, folder / "model.pth", ORIGINS[origin], names)
    return detector.eval(), str(report)


def draw_images(foreign: Foreign) -> tuple[Tensor, Tensor]:
    """The same pixels as our detectors are given them, and as that project's are."""
    pixels = torch.randint(0, 256, (1, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1)).float()
    ours = Preprocess.imagenet(SIDE, SIDE).normalise(pixels[0].permute(1, 2, 0).byte().numpy())
    return torch.from_numpy(ours)[None], foreign.prepare(pixels)


def close(found: Tensor, wanted: Tensor) -> None:
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max().clamp(min=1)))


@ALL
@BOTH
@torch.no_grad()
def test_features_heads_and_boxes_are_those_of_the_project(origin: str, head: str, tmp_path: Path) -> None:
    foreign = Foreign(origin, head)
    detector, text = convert(foreign, origin, tmp_path)
    assert "freshly initialised" not in text
    images, theirs = draw_images(foreign)
    body, maps = foreign.see(theirs)
    seen = detector.see(images)
    for found, wanted in zip([*seen.body.values(), *seen.neck.values()], [*body, *maps], strict=True):
        close(found, wanted)
    anchors = detector.list_anchors(images, seen)
    if head == "retinanet":
        out = detector.head([*seen.neck.values()])
        logits, deltas, laid = (torch.cat(parts) for parts in zip(*foreign.ask_retinanet(maps)))
        order = torch.arange(9).view(3, 3).T.flatten() if foreign.detectron else torch.arange(9)
        for found, wanted in (
            (out["cls_logits"][0], logits),
            (out["bbox_regression"][0], deltas),
            (torch.cat(anchors), laid),
        ):
            close(found, wanted.view(-1, 9, wanted.shape[-1])[:, order].flatten(0, 1))
        expected = foreign.detect_retinanet(maps)
    else:
        objectness, deltas = detector.rpn.head([*seen.neck.values()])
        for level, (logits, delta, laid) in enumerate(foreign.ask_rpn(maps)):
            close(foreign.flatten(objectness[level], 1)[:, 0], logits)
            close(foreign.flatten(deltas[level], 4), delta)
            close(anchors[level], laid)
        close(detector.rpn(list_canvases(images), seen.neck)[0][0], foreign.propose(maps))
        pooled = torch.randn(6, WIDTH, 7, 7, generator=foreign.random)
        own_logits, own_deltas = detector.roi_heads.box_predictor(detector.roi_heads.box_head(pooled))
        logits, boxes = foreign.judge(pooled)
        close(own_logits, logits.roll(1, 1))
        close(own_deltas[:, 4:], boxes.flatten(1))
        expected = foreign.detect_faster_rcnn(maps, theirs=False)
        sampled = foreign.detect_faster_rcnn(maps, theirs=True)
        assert not torch.equal(sampled.scores, expected.scores) and "regions are sampled at 2x2" in text
    found = detector.detect(images)[0]
    assert len(expected.scores) > 5 and found.labels.tolist() == expected.labels.tolist()
    close(found.scores, expected.scores)
    close(found.boxes_xyxy, expected.boxes_xyxy)


@ALL
@BOTH
def test_files_are_recognised_or_it_is_said_what_they_leave_open(origin: str, head: str, tmp_path: Path) -> None:
    torch.save({"state_dict": Foreign(origin, head).state, "meta": {"CLASSES": NAMES}}, tmp_path / "w.pth")
    if origin == "detectron2-torchvision":
        with pytest.raises(InputError, match=r"--from detectron2 \(.*or --from detectron2-torchvision \("):
            recognise(tmp_path / "w.pth")
    else:
        assert recognise(tmp_path / "w.pth") == origin


def test_our_own_weights_and_torchvisions_are_nobody_elses(tmp_path: Path) -> None:
    torch.save(build_detector(make_arch("mmdet", "retinanet"), 2).state_dict(), tmp_path / "w.pth")
    assert recognise(tmp_path / "w.pth") is None
    detector = build_detector(make_arch("mmdet", "retinanet"), 2)
    with pytest.raises(InputError, match=r"is not of mmdetection.* none of its names begins with backbone\.layer1\."):
        load_converted(detector, tmp_path / "w.pth", ORIGINS["mmdet"], ("a", "b"))


@BOTH
def test_rows_of_classes_that_a_file_names_are_kept(head: str, tmp_path: Path) -> None:
    foreign = Foreign("mmdet", head)
    meta = {"dataset_meta": {"classes": ("ant", "Bee", "cow", "dog", "emu")}}
    torch.save({"state_dict": foreign.state, "meta": meta}, tmp_path / "w.pth")
    detector = build_detector(make_arch("mmdet", head), 3, seed=0)
    report = load_converted(detector, tmp_path / "w.pth", ORIGINS["mmdet"], ("emu", "fox", "bee"))
    assert report.classes == ("emu", "bee")
    if head == "retinanet":
        rows = detector.head.classification_head.cls_logits.bias.view(9, 3)  # type: ignore[union-attr]
        wanted = foreign.state["bbox_head.retina_cls.bias"].view(9, 5)
        assert torch.equal(rows[:, [0, 2]], wanted[:, [4, 1]])
    else:
        predictor, box = detector.roi_heads.box_predictor, "roi_head.bbox_head.fc_"
        assert torch.equal(predictor.cls_score.bias[[0, 1, 3]], foreign.state[f"{box}cls.bias"][[5, 4, 1]])  # type: ignore[union-attr]
        assert torch.equal(
            predictor.bbox_pred.bias.view(4, 4)[[1, 3]], foreign.state[f"{box}reg.bias"].view(5, 4)[[4, 1]]
        )  # type: ignore[union-attr]


def test_80_classes_without_names_are_cocos_if_one_of_ours_is(tmp_path: Path) -> None:
    assert len(COCO) == 80 and (COCO[0], COCO[1], COCO[79]) == ("person", "bicycle", "toothbrush")
    foreign = Foreign("detectron2", "faster_rcnn", 80)
    detector, text = convert(foreign, "detectron2", tmp_path, ("toothbrush", "gremlin"))
    assert "the rows of toothbrush, all others anew" in text
    bias = detector.roi_heads.box_predictor.cls_score.bias  # type: ignore[union-attr]
    assert torch.equal(bias[:2], foreign.state["roi_heads.box_predictor.cls_score.bias"][[80, 79]])
    _, text = convert(foreign, "detectron2", tmp_path, ("gremlin", "imp"))
    assert "freshly initialised: class head" in text


def test_one_box_for_all_classes_is_each_ones(tmp_path: Path) -> None:
    foreign = Foreign("mmdet", "faster_rcnn")
    for end in ("weight", "bias"):
        name = f"roi_head.bbox_head.fc_reg.{end}"
        foreign.state[name] = foreign.state[name][:4]
    detector, _ = convert(foreign, "mmdet", tmp_path)
    bias = detector.roi_heads.box_predictor.bbox_pred.bias.view(-1, 4)  # type: ignore[union-attr]
    assert torch.equal(bias[1:], foreign.state["roi_head.bbox_head.fc_reg.bias"].expand(CLASSES, 4))


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("roi_heads.box_predictor.bbox_pred", (4 * CLASSES + 4, 24), "24 rows of boxes are not 4 for each of 5"),
        ("roi_heads.mask_head.deconv", (4, 4, 2, 2), "has roi_heads.mask_head.deconv.weight, which this"),
        ("proposal_generator.rpn_head.conv.conv0", (WIDTH, WIDTH, 3, 3), "has proposal_generator.rpn_head.conv.conv0"),
        ("backbone.fpn_lateral2.norm", (WIDTH,), "has backbone.fpn.inner_blocks.0.0.norm.weight, which this"),
        ("proposal_generator.rpn_head.anchor_deltas", (4, WIDTH, 1, 1), r"bbox_pred.* is \(4, 16, 1, 1\) there"),
    ],
)  # fmt: skip
def test_what_is_built_otherwise_is_refused(name: str, shape: tuple[int, ...], said: str, tmp_path: Path) -> None:
    foreign = Foreign("detectron2", "faster_rcnn")
    foreign.layer(name, *shape) if len(shape) > 1 else foreign.norm(name, *shape)
    with pytest.raises(InputError, match=f"of another architecture: .*{said}"):
        convert(foreign, "detectron2", tmp_path)


def test_a_pickle_is_not_opened_and_the_refusal_says_where_to_read_on(tmp_path: Path) -> None:
    path = tmp_path / "model_final.pkl"
    path.write_bytes(b"cos\nsystem\n(S'false'\ntR.")  # would run a program
    with pytest.raises(InputError, match=r"is a pickle, which may run any program .* not opened") as error:
        recognise(path)
    assert "\n" not in str(error.value)
    section = re.search(r"\((docs/\w+\.md), (.+)\)$", str(error.value))
    assert section is not None
    assert f"### {section[2]}\n" in (ROOT / section[1]).read_text()


def test_what_the_documentation_does_with_a_pickle_makes_weights_that_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for detectron2, whose reading of its own files is not ours to test."""
    foreign, read = Foreign("detectron2", "retinanet"), []

    class Model(nn.Module):
        def state_dict(self) -> dict[str, Tensor]:  # type: ignore[override]
            return foreign.state

    class DetectionCheckpointer:
        def __init__(self, model: Model) -> None:
            pass

        def load(self, path: str) -> None:
            read.append(path)

    for name, member in (("checkpoint", DetectionCheckpointer), ("modeling", None)):
        module = ModuleType(f"detectron2.{name}")
        vars(module).update({"DetectionCheckpointer": member} if member else {"build_model": lambda cfg: Model()})
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "detectron2", ModuleType("detectron2"))
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(from detectron2.*?)```", (ROOT / "docs" / "search.md").read_text(), re.DOTALL)
    exec(code, {"cfg": None})
    assert read == ["model_final.pkl"] and recognise(tmp_path / "model_final.safetensors") == "detectron2"


@pytest.mark.parametrize(
    ("base", "head"), [("shufflenetv2_20", "retinanet"), ("r50", "centernet"), ("r18", "retinanet")]
)
def test_bases_that_no_such_weights_are_for_are_refused(base: str, head: str) -> None:
    with pytest.raises(InputError, match=r"such weights are for a ResNet .*, not for a|is a bottleneck's"):
        ORIGINS["detectron2"].form(base_arch(base, (SIDE, SIDE), head))


@ALL
@BOTH
def test_the_names_of_a_whole_r50_and_r101_fit(origin: str, head: str) -> None:
    """Every tensor of the real depths has a name there that leads back to it."""
    arch = ORIGINS[origin].form(base_arch("r101", (SIDE, SIDE), head))
    with torch.device("meta"):
        ours = {name for name in build_detector(arch, 80).state_dict() if ".layer3.22." in name}
    stage = "backbone.bottom_up.res4.22." if origin.startswith("detectron2") else "backbone.layer3.22."
    foreign = Foreign(origin, head)
    theirs = {
        re.sub(r".*(res3|layer2)\.1\.", stage, name) for name in foreign.state if re.search(r"(res3|layer2)\.1\.", name)
    }
    found = {ORIGINS[origin].rename(name, head) for name in theirs} - {None}
    assert found == {name for name in ours if not name.endswith("num_batches_tracked")}
