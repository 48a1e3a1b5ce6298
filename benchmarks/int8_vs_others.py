"""Is our INT8 as precise and as fast as that of other quantisers, on the same model and images?

    python benchmarks/int8_vs_others.py --bundle RUN/bundles/base --data DATA

Ours (`deploy convert` for the CPU), ONNX Runtime's static quantisation as it comes (`quantize_static`: Q/DQ, least and
greatest values, all operators it knows) after its own preparation of the graph, and where it is installed NVIDIA
ModelOpt's ONNX quantisation. Each is calibrated on the same training images, and each file's AP is found by the same
engine. All are timed in turns in one process. Wanted: AP at least theirs, latency at most theirs.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from side_by_side import Outcome, add_options, compare, finish, time_in_turns

from deploy import Bundle, get_target, open_bundle, open_detector, write_bundle
from deploy.convert import ConversionLimits, convert
from deploy.data import read_dataset, read_image
from deploy.evaluate import evaluate_artefact

SLACK = 0.002  # of AP, below which two files are not told apart on a few hundred images


def read_canvases(bundle: Bundle, data: Path, count: int) -> Iterator[np.ndarray]:
    """Training images as the bundle prepares them."""
    for record in read_dataset(data, "train").records[:count]:
        yield bundle.preprocess(read_image(record.path, (record.width, record.height)))[0]


class Reader(CalibrationDataReader):
    """ONNX Runtime's way of being handed calibration images."""

    def __init__(self, canvases: Iterator[np.ndarray]) -> None:
        self.canvases = canvases

    def get_next(self) -> dict[str, np.ndarray] | None:
        canvas = next(self.canvases, None)
        return None if canvas is None else {"images": canvas}


def quantise_by_onnxruntime(bundle: Bundle, data: Path, count: int, path: Path) -> None:
    ready = path.with_suffix(".ready.onnx")
    quant_pre_process(str(bundle.model), str(ready), skip_symbolic_shape=True)
    quantize_static(str(ready), str(path), Reader(read_canvases(bundle, data, count)))


def quantise_by_modelopt(bundle: Bundle, data: Path, count: int, path: Path) -> None:
    from modelopt.onnx.quantization import quantize

    images = np.concatenate(list(read_canvases(bundle, data, count)))
    quantize(str(bundle.model), quantize_mode="int8", calibration_data={"images": images}, output_path=str(path))


OTHERS: dict[str, Callable[[Bundle, Path, int, Path], None]] = {
    "ONNX Runtime's default recipe": quantise_by_onnxruntime,
    "NVIDIA ModelOpt": quantise_by_modelopt,
}


def list_artefacts(bundle: Bundle, data: Path, count: int, folder: Path) -> tuple[dict[str, Bundle], dict[str, str]]:
    """The bundle, ours in INT8 and each of the others', and why the rest is not there."""
    ours, _ = convert(bundle, "int8", data, folder / "ours", limits=ConversionLimits(1.0, count))
    found, failed = {"fp32": bundle, "ours": ours}, {}
    for number, (name, quantise) in enumerate(OTHERS.items()):
        path = folder / f"{number}.onnx"
        try:
            quantise(bundle, data, count, path)
        except ImportError as error:
            failed[name] = f"not installed: {error}"
            continue
        manifest = replace(bundle.manifest, name=name, precision="int8", metrics={}, files={})
        found[name] = write_bundle(folder / f"other-{number}", path, manifest)
    return found, failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="of a trained detector, in FP32")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=64, help="training images to calibrate with (default: 64)")
    add_options(parser, "int8-vs-others", 30)
    arguments = parser.parse_args()
    bundle, dataset, target = open_bundle(arguments.bundle), read_dataset(arguments.data, "val"), get_target("cpu")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        artefacts, failed = list_artefacts(bundle, arguments.data, arguments.images, Path(folder))
        rows: dict[str, dict[str, Any]] = {}
        for name, artefact in artefacts.items():
            precision, _ = evaluate_artefact(artefact, artefact.class_names, dataset, target)
            rows[name] = {"ap": precision.ap, "ap50": precision.ap50, "mb": artefact.model.stat().st_size / 1e6}
            print(f"{name}: AP {precision.ap:.4f}, AP50 {precision.ap50:.4f}", flush=True)
        photo = read_image(dataset.records[0].path)
        detectors = {name: stack.enter_context(open_detector(item.folder)) for name, item in artefacts.items()}
        runs = {name: partial(detector, photo) for name, detector in detectors.items()}
        samples = time_in_turns(runs, arguments.rounds, window=5, warm_up=5)
    outcomes = [Outcome("AP of ours less AP of FP32", rows["ours"]["ap"] - rows["fp32"]["ap"], -0.01, True)]
    for name in artefacts:
        ratio, ci95 = compare(samples[name], samples["fp32"])
        rows[name] |= {"latency_over_fp32": ratio, "ci95": ci95}
        if name in OTHERS:
            ratio, ci95 = compare(samples["ours"], samples[name])
            more = rows["ours"]["ap"] - rows[name]["ap"]
            outcomes.append(Outcome(f"AP of ours less AP of {name}", more, -SLACK, True))
            outcomes.append(Outcome(f"latency of ours over that of {name}", ratio, 1.0, ci95=ci95))
    print("\n".join(f"{name}: {reason}" for name, reason in failed.items()))
    finish(arguments.json, __doc__.splitlines()[0], outcomes, rows=rows, failed=failed, samples_ms=samples)


if __name__ == "__main__":
    main()
