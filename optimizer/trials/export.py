"""Student to model to bundle, through the parity gate; the only optimizer module that calls `deploy.export`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from deploy import Bundle, BundleManifest, ModelSource, Preprocess, TargetSpec, get_target, write_bundle
from deploy.builders.compatibility import check_model, read_model
from deploy.builders.compatibility_report import summarise_blocking
from deploy.data import Dataset, read_image
from deploy.errors import ExportError, InputError, ParityError
from deploy.evaluate import evaluate_artefact, evaluate_detections
from deploy.export import check_parity, export_onnx
from optimizer.arch.spec import ArchSpec
from optimizer.detectors import Detector as TorchDetector
from optimizer.detectors import build_detector
from optimizer.detectors.base import Prediction
from optimizer.train.predict import predict

__all__ = ["check_export", "export_model", "write_student"]

GATE_IMAGES = 32
GATE_AP = 0.001


def export_model(
    detector: TorchDetector, arch: ArchSpec, path: Path, target: TargetSpec, max_detections: int = 100
) -> ModelSource:
    """Write the detector's fixed-shape ONNX graph as the target wants it: NMS, RoIAlign, what its TensorRT takes.

    Returns how it is fed and read. It puts out the best `max_detections` of an image.

    Raises:
        ExportError: no such graph can be written, or a TensorRT release of the target does not take it.
    """
    detector = detector.to("cpu")
    nms, roi_align = target.engine.nms, target.engine.roi_align
    report = export_onnx(detector, arch.input_size, path, nms, max_detections, roi_align=roi_align)
    model = read_model(path) if target.engine.releases else None
    findings = [finding for version in target.engine.releases for finding in check_model(model or path, version)]
    in_the_way = summarise_blocking(findings)
    if in_the_way:
        raise ExportError(f"the export does not suit target {target.name}: {in_the_way}")
    return ModelSource(path, Preprocess.imagenet(*arch.input_size), report.head, report.selection)


def check_export(arch: ArchSpec, num_classes: int, target: TargetSpec) -> None:
    """Export an untrained detector for a target with TensorRT, to see before any training that its graph is taken.

    Raises:
        InputError: it is not.
    """
    if not target.engine.releases:
        return
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        try:
            export_model(build_detector(arch, num_classes, seed=0), arch, Path(folder) / "base.onnx", target)
        except ExportError as error:
            raise InputError(str(error)) from error


def write_student(
    folder: Path, detector: TorchDetector, model: Path, manifest: BundleManifest, dataset: Dataset, ap: float | None
) -> Bundle:
    """The bundle of a student, if its model passes the gate.

    The gate: the same detections as PyTorch's on 32 images of the data set, a blank and a noise image, and an average
    precision within 0.001 of PyTorch's. `ap` is the model's by ONNX Runtime, None where that was not asked yet: a GPU's
    engine rounds otherwise than PyTorch on the CPU does, and the gate is for the graph.

    Raises:
        ParityError: it does not; no bundle is written, and the message says why.
    """
    seen: list[Prediction] = []
    found = predict(detector.eval(), dataset.records, manifest.preprocess, torch.device("cpu"), seen.append)
    source = evaluate_detections(dataset, found)
    report = check_parity(
        detector, model, _list_canvases(dataset, manifest.preprocess),
        head=manifest.head, selection=manifest.selection, predictions=seen,
    )  # fmt: skip
    if ap is None:
        exported = ModelSource(model, manifest.preprocess, manifest.head, manifest.selection)
        ap = evaluate_artefact(exported, dataset.class_names, dataset, get_target("cpu"))[0].ap
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
