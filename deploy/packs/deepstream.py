"""A configuration of DeepStream's nvinfer, with a graph whose ends nvinfer and a parser that DeepStream ships take."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

from deploy.bundles.bundle import Bundle
from deploy.errors import InputError
from deploy.packs.base import LABELS_FILE, Pack, Packed, write_labels, write_readme
from deploy.packs.nvinfer_graph import CANDIDATES, HEADS, adapt_graph
from deploy.pipeline.decode import get_head
from deploy.pipeline.detector import Detector

__all__ = ["PACK"]

CONFIG_FILE = "config_infer_primary.txt"
MODEL_FILE, PLAN_FILE = "model.onnx", "model.plan"
MODES = {"fp32": 0, "int8": 1, "fp16": 2}  # network-mode
FP32 = "fp32"
NO_CLUSTERING, NMS = 4, 2  # cluster-mode
SCORE = 0.3  # as deploy run shows
PARSER = "NvDsInferParseCustomTfSSD"
PARSER_LIBRARY = "/opt/nvidia/deepstream/deepstream/lib/libnvds_infercustomparser.so"


def _write(bundle: Bundle, folder: Path) -> Packed:
    _require_fitting(bundle)
    write_labels(folder, bundle.class_names, forbidden="\r\n;")  # nvinfer cuts lines at semicolons
    _write_model(bundle, folder / MODEL_FILE)
    precision = bundle.manifest.precision if bundle.manifest.precision in MODES else FP32
    notes = list(_list_differences(bundle, precision))
    groups = {"property": _list_properties(bundle, precision), "class-attrs-all": _list_thresholds(bundle)}
    text = "".join(
        f"[{group}]\n" + "".join(f"{key}={value}\n" for key, value in entries.items()) + "\n"
        for group, entries in groups.items()
    )
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    start = f"nvinfer config-file-path={CONFIG_FILE}   # as the element in a pipeline, after nvstreammux"
    write_readme(
        folder,
        [
            f"{bundle.manifest.name} for DeepStream's nvinfer. Written from NVIDIA's documentation and the source "
            "of its parser; DeepStream never loaded it where it was written.",
            f"    {start}",
            f"model.onnx is the bundle's graph with other ends, for {PARSER}, which comes with DeepStream "
            f"({PARSER_LIBRARY}); there is no library to compile.",
            *notes,
        ],
    )
    return Packed(start, tuple(notes))


def _require_fitting(bundle: Bundle) -> None:
    """An `InputError` for a bundle that nvinfer does not feed or that its parser does not read."""
    if bundle.head not in HEADS:
        raise InputError(
            f"{bundle.folder}: the head {bundle.head} needs a parser of its own in DeepStream, which is not written "
            f"here; the parser that DeepStream ships reads {', '.join(HEADS)}"
        )
    with Detector(bundle, 1, spins=False) as detector:
        inputs, outputs = detector.engine.inputs, detector.engine.outputs
    wanted = (1, 3, bundle.preprocess.height, bundle.preprocess.width)
    if len(inputs) != 1 or inputs[0].shape != wanted or inputs[0].dtype != "float32":
        raise InputError(
            f"{bundle.folder}: nvinfer feeds one image of [1, 3, height, width] float32; this model takes "
            f"{', '.join(map(str, inputs))}"
        )
    get_head(bundle.head).count_classes(outputs, (bundle.preprocess.width, bundle.preprocess.height))


def _write_model(bundle: Bundle, path: Path) -> None:
    try:
        import onnx
    except ImportError as error:
        raise InputError(f"packing for DeepStream needs onnx ({error}): python3 -m pip install onnx") from error
    adapted = adapt_graph(onnx.load(str(bundle.model)), bundle.head, bundle.preprocess, not _has_one_std(bundle))
    onnx.checker.check_model(adapted)
    onnx.save(adapted, str(path))


def _has_one_std(bundle: Bundle) -> bool:
    return len(set(bundle.preprocess.std)) == 1


def _list_properties(bundle: Bundle, precision: str) -> Mapping[str, Any]:
    preprocess = bundle.preprocess
    if precision == "int8":
        model = {"model-engine-file": PLAN_FILE}
    else:  # the second is the name that nvinfer gives the plan it builds, so the next start finds it
        model = {"onnx-file": MODEL_FILE, "model-engine-file": f"{MODEL_FILE}_b1_gpu0_{precision}.engine"}
    return {
        "gpu-id": 0,
        "gie-unique-id": 1,
        "process-mode": 1,
        "network-type": 0,
        **model,
        "network-mode": MODES[precision],
        "batch-size": 1,
        "net-scale-factor": 1 / preprocess.std[0] if _has_one_std(bundle) else 1.0,
        "offsets": ";".join(map(str, preprocess.mean)),
        "model-color-format": 0 if preprocess.order == "rgb" else 1,
        "network-input-order": 0,
        "maintain-aspect-ratio": 1,
        "symmetric-padding": 0,
        "scaling-filter": 1,
        "num-detected-classes": len(bundle.class_names),
        "labelfile-path": LABELS_FILE,
        "cluster-mode": NMS if bundle.head == CANDIDATES else NO_CLUSTERING,
        "parse-bbox-func-name": PARSER,
        "custom-lib-path": PARSER_LIBRARY,
    }


def _list_thresholds(bundle: Bundle) -> Mapping[str, Any]:
    if bundle.head != CANDIDATES:
        return {"pre-cluster-threshold": SCORE}
    selection = bundle.selection or get_head(CANDIDATES).selection
    assert selection is not None, "candidates are selected by the host"
    return {
        "pre-cluster-threshold": SCORE,
        "nms-iou-threshold": selection.iou_threshold,
        "topk": selection.max_detections,
    }


def _list_differences(bundle: Bundle, precision: str) -> list[str]:
    """What is not as in the bundle, a sentence or two each."""
    preprocess = bundle.preprocess
    notes = []
    if any(preprocess.pad):
        notes.append(
            f"nvinfer fills what an image does not cover of {preprocess.width}x{preprocess.height} with black, and "
            f"this model was trained with {preprocess.pad} there; frames of the canvas's own aspect ratio have no such "
            "part."
        )
    if preprocess.antialias:
        notes.append("nvinfer shrinks frames without weighing all pixels, which this model's images were prepared by.")
    if not _has_one_std(bundle):
        notes.append(
            "nvinfer divides all channels by one number, so the first node of model.onnx divides each by its own."
        )
    if precision == "int8":
        notes.append(
            "nvinfer builds no INT8 plan of a graph that brings its own scales: build it on the board, "
            f"deploy build {MODEL_FILE} --engine trt --trust --out plans, and copy the plan to {PLAN_FILE}."
        )
    if precision == "fp16":
        notes.append(
            "nvinfer has TensorRT choose what is in FP16, also in the decoding of boxes, which the bundle keeps in "
            f"FP32; to keep that, build it with deploy build {MODEL_FILE} --engine trt --trust --out plans, and name "
            "the plan as model-engine-file."
        )
    notes.append(
        "The parser ends boxes at the last pixel of the canvas, so those at a frame's right and lower edge may be a "
        "pixel short."
    )
    return notes


PACK = Pack("nvinfer's configuration, with a graph for the parser that DeepStream ships", _write)
