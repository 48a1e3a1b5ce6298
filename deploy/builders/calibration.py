"""What values the features of a network take on real images; found once for a model and a list of images."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Sequence, Tuple

import numpy as np

from deploy.builders.trunk import Trunk
from deploy.engines.ort import NO_SPINNING
from deploy.errors import InputError
from deploy.files import hash_file, write_file
from deploy.reading import read_json_object

if TYPE_CHECKING:
    import onnx

__all__ = ["METHOD", "Ranges", "calibrate", "calibrate_once", "key_calibration", "load_session"]

METHOD = "minmax-1"  # of every image's least and greatest value; another number when what is found changes
CACHE_LIMIT = 64 << 20  # bytes
Ranges = Mapping[str, Tuple[float, float]]


def calibrate(model: onnx.ModelProto, trunk: Trunk, canvases: Iterable[np.ndarray], threads: int | None) -> Ranges:
    """Least and greatest value of every tensor that the trunk reads or writes, over canvases as the model takes them.

    Raises:
        InputError: there is no canvas, or a value on the way is no finite number.
    """
    import onnx

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = _list_features(model, trunk)
    for index, name in enumerate(names):
        for op, kind in (("ReduceMin", "least"), ("ReduceMax", "most")):  # in the graph, so that features are not kept
            output = f"calibration_{kind}_{index}"
            probe.graph.node.append(onnx.helper.make_node(op, [name], [output], keepdims=0))
            probe.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, []))
    session = load_session(probe, threads)
    wanted = [entry.name for entry in probe.graph.output][-2 * len(names) :]
    feed = session.get_inputs()[0].name
    rows = [np.array(session.run(wanted, {feed: canvas}), np.float64).reshape(-1, 2) for canvas in canvases]
    if not rows:
        raise InputError("there is no image to calibrate with")
    least, most = np.min([row[:, 0] for row in rows], axis=0), np.max([row[:, 1] for row in rows], axis=0)
    for name, low, high in zip(names, least, most):
        if not np.isfinite([low, high]).all():
            raise InputError(f"{name} takes values from {low} to {high}: the model is broken")
    return {name: (float(low), float(high)) for name, low, high in zip(names, least, most)}


def key_calibration(model: Path, images: Sequence[Path], preprocess: Mapping[str, Any]) -> str:
    """SHA-256 of all that ranges depend on: model, images in order with their contents, preprocessing, method."""
    about = {
        "method": METHOD,
        "model": hash_file(model),
        "images": [[str(path), hash_file(path)] for path in images],
        "preprocess": dict(preprocess),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def calibrate_once(
    cache: Path, key: str, model: onnx.ModelProto, trunk: Trunk, canvases: Iterable[np.ndarray], threads: int | None
) -> Ranges:
    """`calibrate`, or what it found before for the very same key; a file that cannot be read is written again."""
    file = cache / f"{key}.json"
    try:
        content = read_json_object(file, CACHE_LIMIT)
        found = _parse_ranges(content["ranges"]) if content["key"] == key else {}
        if found and set(_list_features(model, trunk)) <= set(found):
            return found
    except (InputError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        pass
    ranges: dict[str, tuple[float, float]] = dict(calibrate(model, trunk, canvases, threads))
    cache.mkdir(parents=True, exist_ok=True)
    write_file(file, json.dumps({"key": key, "method": METHOD, "ranges": ranges}).encode())
    return ranges


def _list_features(model: onnx.ModelProto, trunk: Trunk) -> list[str]:
    """Every tensor that the trunk reads or writes."""
    members = {layer.node for layer in trunk.layers} | set(trunk.carriers)
    constants = {entry.name for entry in model.graph.initializer}
    names: list[str] = []
    for node in model.graph.node:
        if node.name in members:
            names.extend(name for name in (node.input[0], *node.output) if name not in constants)
    return list(dict.fromkeys(names))


def _parse_ranges(value: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Ranges as a file holds them; a `ValueError` or `TypeError` for what is none."""
    ranges = {name: (float(low), float(high)) for name, (low, high) in value.items() if isinstance(value[name], list)}
    if len(ranges) < len(value) or not all(low <= high for low, high in ranges.values()):
        raise ValueError("a range that is none")
    return ranges


def load_session(model: onnx.ModelProto, threads: int | None) -> Any:
    """An ONNX Runtime session of a model in memory, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    for name, value in NO_SPINNING:
        options.add_session_config_entry(name, value)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
