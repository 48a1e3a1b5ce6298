"""Put a detector on a device: bundles, engines, the detector itself, targets and their latencies.

Needs numpy alone; an engine's library is loaded when a model is opened. Labelled images are read by `deploy.data`,
average precision is computed by `deploy.evaluate`, models are exported by `deploy.export`, which alone needs torch.
"""

from __future__ import annotations

from pathlib import Path

from deploy.builders.build import prepare_model
from deploy.bundles.adopt import ModelStatement, adopt_model
from deploy.bundles.bundle import Bundle, open_bundle, write_bundle
from deploy.bundles.manifest import BundleManifest
from deploy.detections import Detections
from deploy.engines import Engine, TensorSpec, open_engine
from deploy.measuring.measure import Measured, Setup, measure_models
from deploy.measuring.protocols import PROTOCOLS, MeasuringProtocol
from deploy.measuring.record import Comparison, LatencyRecord, MeasurementFailure, compare
from deploy.pipeline.detector import Detector, Timings
from deploy.pipeline.model import ModelSource
from deploy.pipeline.nms import Selection, parse_selection
from deploy.pipeline.preprocess import Placement, Preprocess
from deploy.targets import EngineSpec, LinkSpec, MeasuringSpec, Target, TargetSpec, get_target
from deploy.version import __version__ as __version__

__all__ = [
    "PROTOCOLS",
    "Bundle",
    "BundleManifest",
    "Comparison",
    "Detections",
    "Detector",
    "Engine",
    "EngineSpec",
    "LatencyRecord",
    "LinkSpec",
    "Measured",
    "MeasurementFailure",
    "MeasuringProtocol",
    "MeasuringSpec",
    "ModelSource",
    "ModelStatement",
    "Placement",
    "Preprocess",
    "Selection",
    "Setup",
    "Subject",
    "Target",
    "TargetSpec",
    "TensorSpec",
    "Timings",
    "adopt_model",
    "compare",
    "get_target",
    "measure_models",
    "open_bundle",
    "open_detector",
    "open_engine",
    "parse_selection",
    "prepare_model",
    "write_bundle",
]

Subject = ModelSource  # the name that 0.1.0 had for a model to be timed


def open_detector(bundle: str | Path, threads: int | None = None) -> Detector:
    """The detector of a bundle's folder: ``with open_detector("student") as detector: detector("street.jpg")``."""
    return Detector(open_bundle(bundle), threads)
