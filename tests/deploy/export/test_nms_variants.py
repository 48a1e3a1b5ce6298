"""All variants of NMS and of RoIAlign, deployed, have the same average precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy import Detections, ModelSource, Preprocess
from deploy import Detector as DeployedDetector
from deploy.data import Dataset, read_dataset, read_image
from deploy.evaluate import evaluate_detections
from deploy.export import NMS, ROI_ALIGN, export_onnx
from optimizer.data.shapes import write_shapes
from optimizer.detectors import Detector

SIZE = (170, 130)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = write_shapes(tmp_path_factory.mktemp("shapes"), train=1, val=12, size=SIZE, seed=0)
    return read_dataset(folder, "val")


def detect_all(
    detector: Detector, nms: str, images: Dataset, folder: Path, roi_align: str = "op"
) -> dict[int, Detections]:
    """Detections by image of a detector exported with variants, through the whole of the deployed pipeline."""
    report = export_onnx(detector, SIZE, folder / f"{nms}-{roi_align}.onnx", nms=nms, roi_align=roi_align)
    source = ModelSource(report.path, Preprocess.imagenet(*SIZE), report.head, report.selection)
    with DeployedDetector(source, 1) as deployed:
        return {record.image_id: deployed(read_image(record.path)) for record in images.records}


@pytest.mark.parametrize("kind", ["faster_rcnn", "retinanet", "centernet"])
def test_they_agree_within_a_thousandth(
    kind: str, make_detector: Callable[[str], Detector], images: Dataset, tmp_path: Path
) -> None:
    detector = make_detector(kind)
    found = {nms: detect_all(detector, nms, images, tmp_path) for nms in NMS}
    if kind == "faster_rcnn":
        others = [(nms, roi_align) for nms in NMS for roi_align in ROI_ALIGN if roi_align != "op"]
        found |= {f"{nms}, {roi}": detect_all(detector, nms, images, tmp_path, roi) for nms, roi in others}
    # What an untrained detector finds is no shape: every third of what it finds is the truth, so that each box that
    # a variant loses or adds moves the figure.
    truths = {number: (boxes.boxes_xyxy[::3], boxes.labels[::3]) for number, boxes in found["op"].items()}
    records = tuple(
        replace(record, boxes_xyxy=truths[record.image_id][0], labels=truths[record.image_id][1],
                crowd=np.zeros(len(truths[record.image_id][1]), bool))
        for record in images.records
    )  # fmt: skip
    dataset = replace(images, records=records)
    precision = {name: evaluate_detections(dataset, items.items()).ap for name, items in found.items()}
    assert 0.05 < precision["op"] < 0.95, "neither nothing nor everything is right"
    assert max(precision.values()) - min(precision.values()) < 1e-3, precision
    fewer = {
        number: Detections(boxes.boxes_xyxy[:-6], boxes.scores[:-6], boxes.labels[:-6])
        for number, boxes in found["op"].items()
    }
    assert evaluate_detections(dataset, fewer.items()).ap < precision["op"] - 1e-3, "the figure sees what is missing"
