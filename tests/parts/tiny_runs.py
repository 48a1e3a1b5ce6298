"""Whole runs of the smallest networks that can be searched: every step of a run is there, and takes a moment.

Average precision is a formula of the model's bytes, so that networks need not detect anything, and one that differs in
a bit has another.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from slim_pools import slim_arch
from torch import nn

from deploy import ModelSource, open_bundle
from deploy.errors import DeployError
from deploy.evaluate import AveragePrecision
from deploy.export.onnx import OPSET, GraphReport
from deploy.export.parity import ParityReport
from deploy.files import write_file
from optimizer.arch import ArchSpec, FasterRCNNHead, FpnSpec
from optimizer.arch.bodies.resnet import make_resnet
from optimizer.arch.families import FAMILIES
from optimizer.arch.pool import ElasticSpace
from optimizer.config import RunConfig
from optimizer.recipes import smoke
from optimizer.trials import export
from optimizer.trials.judge import Judge

__all__ = ["find_differences", "look_at", "make_configs", "make_tiny", "read_trials"]

SIZE = (64, 64)


def make_tiny(exports: bool = False) -> None:
    """From here on this process makes tiny networks, whose precision is a formula; for processes that do nothing else.

    Args:
        exports: whether networks are exported, each in a second; otherwise a model is a constant with their hash.
    """
    FAMILIES["r18"] = make_resnet((2, 2, 2, 2), ((32, 32), (32, 32), (48, 48), (64, 64)))  # type: ignore[index]
    whole_base = RunConfig._make_arch
    RunConfig._make_arch = lambda config, family: _shrink(whole_base(config, family))  # type: ignore[method-assign]
    ElasticSpace.arch = slim_arch  # type: ignore[method-assign,assignment]
    Judge.find_precision = _find_precision  # type: ignore[method-assign]
    export.GATE_AP = 1.0
    if not exports:
        export.export_onnx = _write_constant  # type: ignore[assignment]
        export.check_parity = lambda *arguments, **options: ParityReport(0, 0, 0, 0, 0.0, 0.0)  # type: ignore[assignment]


def make_configs() -> dict[str, RunConfig]:
    """A base alone; with a student; a search with a teacher pool; and one for a whole front, with a last training."""
    common: dict[str, object] = {
        "search.cost": "macs", "input_size": SIZE, "region_proposals": 8, "shapes.train": 6, "shapes.val": 2,
        "shapes.size": SIZE, "search.space.sizes": (SIZE,), "search.space.region_proposals": (8, 4),
        "max_detections": 8, "base_train.epochs": 2, "seed": 5,
    }  # fmt: skip
    common |= {f"{name}.checkpoint_every_s": 0.0 for name in ("base_train", "trial_train", "finetune")}
    pool = {f"pool.train.{phase}.checkpoint_every_s": 0.0 for phase in range(3)}
    short = common | {"search.teacher": "none", "base_train.epochs": 1}
    return {
        "base": smoke().changed(short | {"search.trials": 0}),
        "short": smoke().changed(short | {"search.trials": 1}),
        "joint": smoke().changed(common | pool | {"search.trials": 2, "search.finetuned": 1}),
        "pareto": smoke().changed(common | {
            "search.method": "pareto", "search.teacher": "base", "search.trials": 2, "search.screened": 2,
            "search.finetuned": 2, "search.rung_epochs": (1,), "base_epochs": "auto", "base_train.epochs": 4,
        }),
    }  # fmt: skip


def look_at(run: Path) -> dict[str, Any]:
    """What must be equal of two runs, as JSON can hold it."""
    front = json.loads((run / "front.json").read_text())
    return {
        "trials": [list(row) for row in read_trials(run)],
        "front": [[item[key] for key in ("name", "ap", "macs", "score", "bundle")] for item in front["students"]],
        "bundles": sorted(path.name for path in (run / "bundles").iterdir()),
    }


def find_differences(whole: dict[str, Any], folder: Path) -> list[str]:
    """What is other, or not whole, in a folder with a finished run than in one that came to `whole`."""
    found = look_at(folder / "run")
    differences = [
        f"other {what}: {found[what]} instead of {whole[what]}" for what in whole if found[what] != whole[what]
    ]
    for name in found["bundles"]:
        try:
            open_bundle(folder / "run" / "bundles" / name)
        except DeployError as error:
            differences.append(str(error))
    if not (folder / "run" / "report.html").read_text().rstrip().endswith("</html>"):
        differences.append("the page is not whole")
    left = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if ".part" in path.name]
    return differences + [f"left behind: {', '.join(left)}"] * bool(left)


def read_trials(run: Path) -> list[tuple[object, ...]]:
    """Everything in a run's trials that is not a time."""
    with sqlite3.connect(f"file:{run / 'run.db'}?mode=ro", uri=True) as database:
        return database.execute(
            "select number, status, proposal, arch, ap, ap50, macs, params, cost_ratio, score, weights, model, "
            "epochs_total, curve, error from trials order by number"
        ).fetchall()


def _shrink(arch: ArchSpec) -> ArchSpec:
    head = FasterRCNNHead(32, 64, arch.head.region_proposals or 8, anchor_scale=4)
    return replace(arch, neck=FpnSpec(64), head=head)


def _find_precision(judge: Judge, model: ModelSource) -> AveragePrecision:
    digest = hashlib.sha256(Path(model.model).read_bytes()).digest()
    ap = 0.2 + 0.6 * int.from_bytes(digest[:4], "big") / 2**32
    return AveragePrecision(ap, ap, ap, None, None, None, (ap,) * len(judge.images.class_names))


def _write_constant(
    detector: nn.Module,
    input_size: tuple[int, int],
    path: Path,
    nms: str = "op",
    max_detections: int = 100,
    **options: str,
) -> GraphReport:
    """A model that detects nothing, and holds the hash of the weights it stands for."""
    digest = hashlib.sha256()
    for name, value in detector.state_dict().items():
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    outputs = {
        "boxes": np.zeros((max_detections, 4), np.float32), "scores": np.zeros(max_detections, np.float32),
        "labels": np.zeros(max_detections, np.int64), "count": np.zeros(1, np.int64),
    }  # fmt: skip
    constants = {f"constant_{name}": value for name, value in outputs.items()}
    constants["weights"] = np.frombuffer(digest.digest(), np.uint8)
    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, *input_size[::-1]])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", [f"constant_{name}"], [name]) for name in outputs],
        "constant",
        [images],
        [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in outputs.items()
        ],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)
    content = model.SerializeToString(deterministic=True)
    write_file(path, content)
    return GraphReport(
        path, OPSET, len(outputs), {"Identity": len(outputs)}, len(content), hashlib.sha256(content).hexdigest()
    )
