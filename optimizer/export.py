"""Student to bundle, through the parity gate; the only optimizer module that calls `deploy.export`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deploy import Bundle, BundleManifest, Detector as DeployedDetector, Preprocess, open_engine, write_bundle
from deploy.data import Dataset, read_image
from deploy.errors import DeployError, ParityError
from deploy.evaluate import AveragePrecision, evaluate_detections
from deploy.export import check_parity, export_onnx
from optimizer.arch.spec import ArchSpec
from optimizer.detectors.base import Detector
from optimizer.train.predict import predict

__all__ = ["evaluate_model", "export_model", "write_student"]

GATE_IMAGES = 32
GATE_AP = 0.001


def export_model(detector: Detector, arch: ArchSpec, path: Path, nms: str = "op") -> None:
    """Write the detector's fixed-shape ONNX graph."""
    export_onnx(detector, arch.input_size, path, nms=nms)
