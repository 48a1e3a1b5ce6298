"""The gate lets equal models through and names the difference of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from deploy.errors import ParityError
from deploy.export import ParityReport, Tolerance, check_parity, export_onnx
from optimizer.detectors import Detector


def corrupt(source: Path, destination: Path, part: str, factor: float) -> None:
    """A copy of a model with one weight array scaled."""
    model = onnx.load(source)
    (chosen,) = [constant for constant in model.graph.initializer if part in constant.name]
    chosen.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(chosen) * np.float32(factor), chosen.name))
    onnx.save(model, destination)


def test_a_corrupted_weight_is_caught(
    exported: tuple[Detector, Path], canvases: list[np.ndarray], tmp_path: Path
) -> None:
    detector, path = exported
    part = {"faster_rcnn": "cls_score", "retinanet": "cls_logits", "centernet": "heatmap.2"}[detector.arch.head.kind]
    corrupt(path, tmp_path / "bad.onnx", f"{part}.weight", 1.05)
    with pytest.raises(ParityError, match=r"image.*(finds|not).*label"):
        check_parity(detector, tmp_path / "bad.onnx", canvases)


def test_boxes_that_shift_by_a_tenth_of_a_pixel_are_caught(
    exported: tuple[Detector, Path], canvases: list[np.ndarray], tmp_path: Path
) -> None:
    detector, path = exported
    part = {"faster_rcnn": "bbox_pred", "retinanet": "bbox_reg", "centernet": "size.2"}[detector.arch.head.kind]
    names = [c.name for c in onnx.load(path).graph.initializer if f"{part}.weight" in c.name]
    corrupt(path, tmp_path / "bad.onnx", names[-1], 1.1)
    with pytest.raises(ParityError, match="pixels away"):
        check_parity(detector, tmp_path / "bad.onnx", canvases)


class Found(NamedTuple):
    boxes_xyxy: Tensor
    scores: Tensor
    labels: Tensor


class OneObject(nn.Module):
    """Says of every canvas that there is one object, with the score and box it is told, or none below 0.05.

    What it exports differs from what it detects by the given offsets: a source and its flawed copy in one.
    """

    def __init__(self, score: float = 0.8, score_off: float = 0.0, box_off: float = 0.0, bad: float = 0.0) -> None:
        super().__init__()
        self.score, self.score_off, self.box_off, self.bad = score, score_off, box_off, bad

    def detect(self, images: Tensor) -> list[Found]:
        score = torch.full((1,), self.score) + 0 * images.mean()
        keep = score > 0.05
        return [Found(torch.tensor([[8.0, 8.0, 40.0, 40.0]])[keep], score[keep], torch.tensor([2])[keep])]

    def raw(self, images: Tensor, ops: object, max_detections: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        zero = 0 * images.mean()
        score = torch.cat([torch.full((1,), self.score + self.score_off), torch.zeros(max_detections - 1)]) + zero
        keep = (score > 0.05).to(torch.int64)
        box = torch.tensor([8.0, 8.0, 40.0, 40.0]) + self.box_off
        boxes = (box[None] + zero + torch.log(zero + 1 - self.bad)) * keep[:, None]
        return boxes, score * keep, 2 * keep, keep.sum(0, keepdim=True)


def gate(detector: OneObject, tmp_path: Path, tolerance: Tolerance | None = None) -> ParityReport:
    export_onnx(detector, (64, 64), tmp_path / "one.onnx", max_detections=3)
    return check_parity(detector, tmp_path / "one.onnx", [np.ones((1, 3, 64, 64), np.float32)], tolerance)


def test_an_exact_copy_passes_and_the_blank_and_noise_images_were_added(tmp_path: Path) -> None:
    report = gate(OneObject(), tmp_path)
    assert report == ParityReport(images=3, detections=3, at_the_cut=0, near_ties=0, box_px=0.0, score=0.0)


def test_what_the_source_is_known_to_detect_is_not_asked_again(tmp_path: Path) -> None:
    asked: list[float] = []

    class Watched(OneObject):
        def detect(self, images: Tensor) -> list[Found]:
            asked.append(float(images.mean()))
            return super().detect(images)

    detector, canvases = Watched(), [np.full((1, 3, 64, 64), value, np.float32) for value in (1.0, 2.0)]
    export_onnx(detector, (64, 64), tmp_path / "one.onnx", max_detections=3)
    known = detector.detect(torch.from_numpy(canvases[0]))
    del asked[:]
    assert check_parity(detector, tmp_path / "one.onnx", canvases, predictions=known).detections == 4
    assert asked[0] == 0.0 and asked[-1] == 2.0 and len(asked) == 3, "blank, noise, and the second image"
    other = known[0]._replace(scores=known[0].scores - 0.1)
    with pytest.raises(ParityError, match="image 1: "):
        check_parity(detector, tmp_path / "one.onnx", canvases, predictions=[other])


@pytest.mark.parametrize(
    "detector, says",
    [
        (OneObject(score_off=0.01), "the blank image: the source finds detection 1 of 1"),
        (OneObject(box_off=0.1), r"0.100 pixels away, is detection 1 of 1 \(label 2, score 0.8000"),
        (OneObject(score=0.06, score_off=-0.02), "it finds nothing with that label"),
        (OneObject(score=0.04, score_off=0.02), "the exported model finds detection 1 of 1"),
        (OneObject(bad=1.0), "not finite"),
    ],
    ids=["score", "box", "lost", "extra", "infinite"],
)
def test_a_difference_beyond_the_tolerance_is_named(detector: OneObject, says: str, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=says):
        gate(detector, tmp_path)


def test_the_tolerance_decides(tmp_path: Path) -> None:
    loose = replace(Tolerance(), score=0.02, box=0.01)
    assert gate(OneObject(score_off=0.01, box_off=0.1), tmp_path, loose).detections == 3


def test_an_object_at_the_score_threshold_may_be_missing_on_one_side(tmp_path: Path) -> None:
    report = gate(OneObject(score=0.0505, score_off=-0.001), tmp_path)
    assert report.detections == 0 and report.at_the_cut == 3


class Undecided(OneObject):
    """Where this says so of an image's mean, rounding makes it choose another box than the exported copy does."""

    def __init__(self, tie_at: float) -> None:
        super().__init__()
        self.tie_at = tie_at

    def detect(self, images: Tensor) -> list[Found]:
        (found,) = super().detect(images)
        return [found._replace(boxes_xyxy=found.boxes_xyxy + 5.0 * (images.double().mean() == self.tie_at))]


def test_an_image_on_which_the_source_contradicts_itself_is_passed_over_and_counted(tmp_path: Path) -> None:
    report = gate(Undecided(tie_at=1.0), tmp_path)
    assert report.images == 3 and report.detections == 2 and report.near_ties == 1
    assert gate(Undecided(tie_at=0.0), tmp_path).near_ties == 1, "the blank image"


def test_a_source_that_often_contradicts_itself_cannot_be_compared(tmp_path: Path) -> None:
    detector = Undecided(tie_at=1.0)
    export_onnx(detector, (64, 64), tmp_path / "one.onnx", max_detections=3)
    with pytest.raises(ParityError, match="on 2 of 4 images the source contradicts itself"):
        check_parity(detector, tmp_path / "one.onnx", [np.ones((1, 3, 64, 64), np.float32)] * 2)
