"""Student to model to bundle, through the parity gate; the only optimizer module that calls `deploy.export`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deploy import Bundle, BundleManifest, Detector, ModelSource, Preprocess, write_bundle
from deploy.data import Dataset, read_image
from deploy.errors import InputError, ParityError
from deploy.evaluate import AveragePrecision, evaluate_detections
from deploy.export import check_parity, export_onnx
from optimizer.arch.spec import ArchSpec
from optimizer.detectors.base import Detector as TorchDetector
from optimizer.train.predict import predict

__all__ = ["evaluate_model", "export_model", "write_student"]

GATE_IMAGES = 32
GATE_AP = 0.001


def export_model(detector: TorchDetector, arch: ArchSpec, path: Path, nms: str) -> None:
    """Write the detector's fixed-shape ONNX graph with the NMS variant that the target names."""
    export_onnx(detector.to("cpu"), arch.input_size, path, nms=nms)


def evaluate_model(model: Path, preprocess: Preprocess, dataset: Dataset, threads: int | None) -> AveragePrecision:
    """Average precision of an exported model, run as it will run when deployed; unreadable images count as missed."""
    with Detector(ModelSource(model, preprocess), threads) as detector:

        def results() -> Iterator[tuple[int, Any]]:
            for record in dataset.records:
                try:
                    image = read_image(record.path, (record.width, record.height))
                except InputError:
                    continue
                yield record.image_id, detector(image)

        return evaluate_detections(dataset, results())


def write_student(
    folder: Path, detector: TorchDetector, model: Path, manifest: BundleManifest, dataset: Dataset, ap: float
) -> Bundle:
    """The bundle of a student, if its model passes the gate.

    The gate: the same detections as PyTorch's on 32 images of the data set, a blank and a noise image, and an average
    precision within 0.001 of PyTorch's; `ap` is that of the model.

    Raises:
        ParityError: it does not; no bundle is written, and the message says why.
    """
    report = check_parity(detector, model, _list_canvases(dataset, manifest.preprocess))
    source = evaluate_detections(
        dataset, predict(detector.eval(), dataset.records, manifest.preprocess, torch.device("cpu"))
    )
    if abs(source.ap - ap) > GATE_AP:
        raise ParityError(
            f"the exported model has AP {ap:.4f}, its PyTorch source {source.ap:.4f}; allowed: {GATE_AP} apart"
        )
    gate = {"images": report.images, "detections": report.detections, "box_px": report.box_px, "score": report.score}
    gate["unsettled"] = report.unsettled
    metrics = {**manifest.metrics, "gate": {**gate, "ap_pytorch": source.ap}}
    return write_bundle(folder, model, replace(manifest, metrics=metrics))


def _list_canvases(dataset: Dataset, preprocess: Preprocess) -> Iterator[np.ndarray]:
    """The first readable images as network inputs."""
    count = 0
    for record in dataset.records:
        try:
            image = read_image(record.path, (record.width, record.height))
        except InputError:
            continue
        yield preprocess(image)[0]
        count += 1
        if count == GATE_IMAGES:
            return
