"""What else strangers write, besides labels: of each form a valid one, and what is done with any other."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from peer import HAS_ALL, STORED, make_peer
from PIL import Image

from deploy import BundleManifest, LatencyRecord, ModelSource, Preprocess, open_bundle
from deploy.builders.calibration import calibrate_once
from deploy.builders.plans import find_plan, write_plan
from deploy.builders.trunk import find_trunk
from deploy.bundles.bundle import MANIFEST_FILE, MODEL_FILE
from deploy.bundles.external_data import has_external_data
from deploy.cli.terminal import print_record
from deploy.data.images import ImageFile, image_size, read_image
from deploy.engines.plan import BuildSettings, PlanKey, Platform, manifest_of
from deploy.errors import DeployError
from deploy.measuring.device import DeviceFingerprint
from deploy.measuring.record import Canary, WarmUp
from deploy.sensors import Conditions, Energy
from deploy.targets import read_target
from deploy.targets.agent import AGENT_VERSION, REQUESTS, parse_request
from deploy.targets.hosts import apply_host, find_hosts_file
from deploy.targets.parse import parse_target

__all__ = ["FORMS", "Form", "try_form"]

Form = tuple[bytes, Callable[[Path, bytes], object]]
MODEL = b"not a model, which nobody finds out before it is run"
MANIFEST = BundleManifest(
    "student", "0" * 12, {"body": {"widths": [1, 2]}}, ("cat", "dog"), Preprocess.imagenet(64, 48),
    metrics={"ap": 0.5}, files={MODEL_FILE: hashlib.sha256(MODEL).hexdigest()},
)  # fmt: skip
TARGET = """name = "board"
link = "ssh"
engine = "trt"
nms = "matrix"
precisions = ["fp16", "int8", "fp32"]
threads = 4
mode = "burst"
lock_clocks = "never"
tensorrt = "10.3"
python = "python3.8"
description = "a board"
"""
HOSTS = """[jetson]
host = "user@10.0.0.7"
port = 2222
python = "venv/bin/python"
key = "~/.ssh/id_board"

[other]
host = "b"
"""
SUBJECT = {"model": "a" * 64, "preprocess": Preprocess.imagenet(64, 48).to_json(), "head": None, "selection": None}
MEASURE = {
    "op": "measure", "limit_s": 60, "subjects": {"tiny": SUBJECT}, "images": ["b" * 64], "protocol": "quick", "seed": 0,
    "setup": {"engine": "ort", "threads": 1, "mode": "sustained", "lock_clocks": "never", "lease_timeout_s": 10},
}  # fmt: skip
RECORD = LatencyRecord(
    "quick", hashlib.sha256(MODEL).hexdigest(), "cpu",
    DeviceFingerprint("a CPU", 2, 1, "performance", 0.5, "ONNX Runtime", "Linux", "MAXN", True), "lease", "2026-11-27",
    ((1.0, 1.5, 1.25), (1.5, 1.0)), 0.5, (WarmUp(3, True),), "time cap", "1 images", "b" * 64, (Canary(1.0, 1.1),),
    ("a note",), gpu_ms=0.75, conditions=(Conditions(40.0, 41.0, (1.0, 2.0), (3.0, 4.0), None, ("slow",), 3),),
    energy=Energy(1.0, 0.5, 2.0, 9, 3.0),
)  # fmt: skip
FOUND = {
    "image": 0, "boxes_xyxy": [[0.5, 0, 1, 1], [2, 3, 4, 5]], "scores": [0.5, 0.25], "labels": [1, 0], "pre_ms": 1.0,
    "infer_ms": 2.0,
}  # fmt: skip
CONDITIONS = [["works", "Python", "3.8", ""], ["missing", "numpy", "not there", "install it"]]
KEY = PlanKey("0" * 64, Platform("10.3", "a GPU", "8.7", "12.6"), BuildSettings(3))
GRAPH = helper.make_model(
    helper.make_graph(
        [
            helper.make_node("Conv", ["images", "weight"], ["features"], name="conv"),
            helper.make_node("Relu", ["features"], ["active"], name="relu"),
            helper.make_node("Conv", ["active", "second"], ["boxes"], name="head"),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 2, 8, 8])],
        [
            numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "weight"),
            numpy_helper.from_array(np.ones((2, 2, 1, 1), np.float32), "second"),
        ],
    ),
    opset_imports=[helper.make_opsetid("", 17)],
    ir_version=8,
)
CANVAS = np.ones((1, 3, 8, 8), np.float32)
RANGES = {name: [0.0, 3.0] for name in ("images", "features", "active", "boxes")}


def _assert_inside(folder: Path, path: Path) -> None:
    assert path.resolve().is_relative_to(folder.resolve()), f"{path} is outside"


def _open_manifest(folder: Path, content: bytes) -> None:
    """A bundle whose manifest says what it likes and has the hash of just that."""
    try:
        value = json.loads(content)
        del value["sha256"]
        sealed = hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        content = json.dumps({**value, "sha256": sealed}).encode()
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    (folder / MANIFEST_FILE).write_bytes(content)
    (folder / MODEL_FILE).write_bytes(MODEL)
    bundle = open_bundle(folder)
    for path in (bundle.model, *(folder / name for name in bundle.manifest.files)):
        _assert_inside(folder, path)


def _read_target(folder: Path, content: bytes) -> None:
    spec = parse_target(content.decode("utf-8", "replace"), "board.toml")
    assert (spec.link.ssh_config, spec.link.port, spec.link.key) == (None, None, None)


def _read_hosts(folder: Path, content: bytes) -> None:
    with mock.patch.dict(os.environ, XDG_CONFIG_HOME=str(folder)):
        find_hosts_file().parent.mkdir(exist_ok=True)
        find_hosts_file().write_bytes(content)
        apply_host(read_target("jetson"), "somewhere")


def _answer_request(folder: Path, content: bytes) -> None:
    """What a board's agent does with a line, up to the files, none of which was pushed to it."""
    request = parse_request(content)
    if request["op"] != "examine":
        REQUESTS[request["op"]](request, folder, lambda answer: None)


def _show(text: str) -> None:
    assert "\x1b" not in text and len(text) < 100_000


def _answer(result: Any) -> bytes:
    return json.dumps({"ok": True, "result": result}).encode()


def _greet(folder: Path, content: bytes) -> None:
    """What a board says first, before and after its agent is there."""
    peer = make_peer(folder, content + b"\n" + STORED, _answer(AGENT_VERSION), _answer(CONDITIONS[:1]))
    for item in peer.check():
        _show(str(item))
        if item.state == "missing":
            raise DeployError(str(item))


def _take_record(folder: Path, content: bytes) -> None:
    source = _source(folder)
    measured = make_peer(folder, HAS_ALL, content).measure({"a": source}, protocol="quick", report=_show)["a"]
    if isinstance(measured, LatencyRecord):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            print_record("a", measured)
        _show(printed.getvalue())
    json.dumps(measured.to_json(), allow_nan=False)


def _take_detections(folder: Path, content: bytes) -> None:
    (folder / "a.png").write_bytes(b"an image")
    images = [ImageFile(folder / "a.png")]
    for position, found, timings in make_peer(folder, HAS_ALL, content).detect(_source(folder), images, _show):
        assert position == 0 and min(timings.pre_ms, timings.infer_ms) >= 0
        assert np.isfinite(found.boxes_xyxy).all() and (found.boxes_xyxy[:, 2:] >= found.boxes_xyxy[:, :2]).all()
        assert ((found.scores >= 0) & (found.scores <= 1)).all() and (found.labels >= 0).all()


def _take_conditions(folder: Path, content: bytes) -> None:
    for item in make_peer(folder, HAS_ALL, _answer(AGENT_VERSION), content).check():
        _show(str(item))


def _source(folder: Path) -> ModelSource:
    (folder / "model.onnx").write_bytes(MODEL)
    return ModelSource(folder / "model.onnx", Preprocess(64, 48), "detections")


def _find_plan(folder: Path, content: bytes) -> None:
    """Machine code is given to TensorRT only if it is what was written."""
    folder.chmod(0o700)
    plan = write_plan(folder, KEY, b"machine code", {"model": "a.onnx"})
    manifest_of(plan.path).write_bytes(content)
    found, reason = find_plan(folder, KEY)
    if found is None:
        raise DeployError(reason)
    assert found.content == b"machine code"


def _calibrate(folder: Path, content: bytes) -> None:
    (folder / "key.json").write_bytes(content)
    found = calibrate_once(folder, "key", GRAPH, find_trunk(GRAPH), [CANVAS], 1)
    assert set(RANGES) <= set(found) and all(low <= high for low, high in found.values())


def _read_image(folder: Path, content: bytes) -> None:
    (folder / "image").write_bytes(content)
    image_size(folder / "image")
    read_image(folder / "image")


def _look_for_tensors(folder: Path, content: bytes) -> None:
    (folder / "model.onnx").write_bytes(content)
    has_external_data(folder / "model.onnx")


def _encode(kind: str) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


FORMS: dict[str, Form] = {
    "manifest": (json.dumps({**MANIFEST.to_json(), "sha256": ""}).encode(), _open_manifest),
    "target": (TARGET.encode(), _read_target),
    "hosts": (HOSTS.encode(), _read_hosts),
    "request": (json.dumps(MEASURE).encode(), _answer_request),
    "greeting": (HAS_ALL.split(b"\n")[0], _greet),
    "record": (_answer({"a": RECORD.to_json()}), _take_record),
    "detections": (_answer([FOUND]), _take_detections),
    "conditions": (_answer(CONDITIONS), _take_conditions),
    "plan": (
        json.dumps(
            {
                "schema_version": 1,
                "key": KEY.to_json(),
                "plan_sha256": hashlib.sha256(b"machine code").hexdigest(),
                "record": {"model": "a.onnx"},
            }
        ).encode(),
        _find_plan,
    ),
    "calibration": (json.dumps({"key": "key", "method": "minmax-1", "ranges": RANGES}).encode(), _calibrate),
    "graph": (GRAPH.SerializeToString(), _look_for_tensors),
    **{kind: (_encode(kind), _read_image) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")},
}


def try_form(folder: Path, form: Form, change: Callable[[bytes], bytes]) -> bool:
    """Whether a changed form is taken; anything but that or an error of ours, of one line, is a failure."""
    content, use = form
    folder.mkdir(parents=True, exist_ok=True)
    try:
        use(folder, change(content))
    except Exception as error:
        if not hasattr(error, "exit_code"):  # which errors that are raised on purpose have
            raise
        assert "\n" not in str(error).strip(), f"an error of several lines: {error}"
        return False
    return True
