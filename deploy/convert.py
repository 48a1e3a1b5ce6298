"""A bundle in another precision: calibrated, converted and evaluated through the bundle's own preprocessing."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence

import numpy as np

from deploy.builders.calibration import calibrate_once, key_calibration
from deploy.builders.compatibility import check_model, fits_release, opset_of, read_model
from deploy.builders.precision import CONVERSIONS, Calibration, Conversion, convert_model
from deploy.builders.trunk import find_trunk
from deploy.bundles.bundle import MODEL_FILE, Bundle, write_bundle
from deploy.engines import get_engine
from deploy.errors import CompatibilityError, InputError
from deploy.pipeline.model import ModelSource
from deploy.targets.base import Target
from deploy.targets.local import LocalTarget
from deploy.targets.spec import TargetSpec

if TYPE_CHECKING:
    import onnx

    from deploy.data.records import Dataset, Record

__all__ = ["ConversionLimits", "convert", "list_calibration_images"]

RANKING_IMAGES = 4
LEAST_OPSET = 13  # the first with one scale per channel
CPU = LocalTarget(TargetSpec("cpu"))
KEPT_METRICS = ("macs", "params")  # the rest was measured of another artefact
CACHE = ".calibration"

Report = Callable[[str], None]


@dataclass(frozen=True)
class ConversionLimits:
    """What a conversion may lose of average precision, and on how many training images its ranges are found."""

    max_ap_drop: float = 0.01
    images: int = 64


LIMITS = ConversionLimits()


def convert(
    bundle: Bundle,
    precision: str,
    data: Path,
    out: Path,
    target: Target = CPU,
    limits: ConversionLimits = LIMITS,
    report: Report = lambda line: None,
    ap: float | None = None,
) -> tuple[Bundle, Conversion]:
    """Write the bundle of a bundle's model in another precision, unless it loses too much.

    Ranges are found on the training images, average precision on the validation images of `data`, on the target. Ranges
    are kept beside the new bundle, under a hash of all they depend on. `ap` is the bundle's own on those
    images and that target, where it is known already.

    Raises:
        InputError: the bundle is not in FP32, its model cannot be converted, the target's engine does not take the
            precision, or `data` has other classes.
        PrecisionError: too much is lost; nothing is written.
        CompatibilityError: the target is TensorRT's, and its conversion does not fit a release that the source fits;
            nothing is written.
    """
    from deploy.data import keep_fitting, read_dataset
    from deploy.evaluate import AveragePrecision, evaluate_artefact, match_classes

    model = _read_convertible(bundle, precision)
    can = get_engine(target.spec.engine.name).precisions
    if precision not in can:
        raise InputError(f"target {target.spec.name}: its engine takes {', '.join(can)}, not {precision}")
    if out.resolve() == bundle.folder.resolve():
        raise InputError(f"{out} is the bundle that is converted; choose another folder with --out")
    validation: Dataset = keep_fitting(read_dataset(data, "val"))
    match_classes(bundle.class_names, validation)
    records = list_calibration_images(read_dataset(data, "train").records, limits.images)
    key = key_calibration(bundle.model, [record.path for record in records], bundle.preprocess.to_json())
    report(f"calibrating on {len(records)} images")
    canvases = _iterate_canvases(bundle, records, report)
    ranges = calibrate_once(
        out.resolve().parent / CACHE, key, model, find_trunk(model), canvases, target.spec.engine.threads
    )
    few = list(_iterate_canvases(bundle, records[:RANKING_IMAGES], report))
    found: list[AveragePrecision] = []
    with tempfile.TemporaryDirectory(prefix="convert-") as folder:
        path = Path(folder) / MODEL_FILE

        def evaluate(candidate: onnx.ModelProto) -> float:
            path.write_bytes(candidate.SerializeToString(deterministic=True))
            precise, _ = evaluate_artefact(ModelSource.of(bundle, path), bundle.class_names, validation, target, report)
            found.append(precise)
            return precise.ap

        calibration = Calibration(ranges, few, len(records))
        converted, conversion = convert_model(
            model, precision, calibration, evaluate, limits.max_ap_drop, report, target.spec.engine.name, ap
        )
        _check_converted(model, converted, precision, target.spec.engine.releases)
        assert path.read_bytes() == converted.SerializeToString(deterministic=True), "the artefact that was evaluated"
        metrics: dict[str, Any] = {
            **{name: bundle.manifest.metrics[name] for name in KEPT_METRICS if name in bundle.manifest.metrics},
            "ap": conversion.ap,
            "ap50": found[-1].ap50,
            "latency": None,
            "conversion": {
                **conversion.to_json(),
                "engine": target.spec.engine.name,
                "source": bundle.manifest.files[MODEL_FILE],
            },
        }
        name = f"{bundle.manifest.name}-{precision}"
        manifest = replace(bundle.manifest, name=name, precision=precision, metrics=metrics)
        return write_bundle(out, path, manifest), conversion


def list_calibration_images(records: Sequence[Record], count: int) -> list[Record]:
    """So many records at even distances, always the same ones for the same list."""
    count = min(count, len(records))
    return [records[index * len(records) // count] for index in range(count)]


def _read_convertible(bundle: Bundle, precision: str) -> onnx.ModelProto:
    if precision not in CONVERSIONS:
        raise InputError(f"no precision {precision!r} to convert to; there are: {', '.join(CONVERSIONS)}")
    if bundle.manifest.precision != "fp32":
        raise InputError(
            f"{bundle.folder} is in {bundle.manifest.precision} already; convert the bundle in fp32 that it was "
            "made from"
        )
    model = read_model(bundle.model)
    if opset_of(model) < LEAST_OPSET:
        raise InputError(
            f"{bundle.model} is written in opset {opset_of(model)}; a conversion needs {LEAST_OPSET} or newer: "
            "export it with opset 17"
        )
    types = {node.op_type for node in model.graph.node}
    if "QuantizeLinear" in types or "DequantizeLinear" in types:
        raise InputError(f"{bundle.folder} says fp32, but its model is quantised already")
    if not find_trunk(model).groups(CONVERSIONS[precision][1]):
        raise InputError(f"{bundle.model} holds no layer that could be {precision}")
    return model


def _iterate_canvases(bundle: Bundle, records: Sequence[Record], report: Report) -> Iterator[np.ndarray]:
    """Network inputs of images, those that cannot be read left out."""
    from deploy.data import read_image
    from deploy.evaluate import Progress

    for index, record in enumerate(records):
        report(Progress(f"image {index + 1} of {len(records)}"))
        try:
            image = read_image(record.path, (record.width, record.height))
        except InputError as error:
            report(f"{error} (left out)")
            continue
        yield bundle.preprocess(image)[0]


def _check_converted(
    source: onnx.ModelProto, converted: onnx.ModelProto, precision: str, releases: Sequence[str]
) -> None:
    """Raises `CompatibilityError` where the conversion closed the way to a release that was open."""
    for version in releases:
        if fits_release(check_model(source, version)):
            findings = check_model(converted, version)
            if not fits_release(findings):
                first = next(finding for finding in findings if finding.severity in ("refused", "dynamic"))
                raise CompatibilityError(
                    f"the model in {precision} does not fit TensorRT {version} any more: {first.op} {first.node}: "
                    f"{first.reason}"
                )
