"""Whole detectors: ours fit every release, torchvision's own export fits none, and its nodes are named."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper

from deploy.builders.compatibility import VERSIONS, check_model, fits_release
from deploy.export.onnx import OPERATORS

F32, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
ROUTING = ("NonZero", "If", "Loop", "NonMaxSuppression")


def dynamic_nodes(model: onnx.ModelProto | Path, version: str) -> dict[str, set[str]]:
    """The names of nodes whose sizes or whose turn depends on the data, by operator."""
    found: dict[str, set[str]] = {}
    for finding in check_model(model, version):
        if finding.severity == "dynamic":
            found.setdefault(finding.op, set()).add(finding.node)
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_our_export_of_every_detector_fits_every_release(exported: Path, version: str) -> None:
    findings = check_model(exported, version)
    assert fits_release(findings)
    assert {finding.severity for finding in findings} <= {"note"}, "nor is anything unknown"


def test_the_notes_are_the_integers_of_8_6_and_the_nms(exported: Path) -> None:
    notes = {version: {finding.op for finding in check_model(exported, version)} for version in VERSIONS}
    nms = {"NonMaxSuppression"} if "centernet" not in exported.name else set()
    assert notes == {"8.6": {"output", *nms}} | dict.fromkeys(VERSIONS[1:], nms)


def test_an_export_is_named_where_its_padding_is_taken_away(exported: Path) -> None:
    """The very graph, but what follows the last NonMaxSuppression reads its rows at once."""
    model = onnx.load(exported)
    if "centernet" in exported.name:
        pytest.skip("it has no NMS whose rows could be read")
    last = [node for node in model.graph.node if node.op_type == "NonMaxSuppression"][-1]
    model.graph.node.append(helper.make_node("Identity", [last.output[0]], ["raw_rows"], "leak"))
    model.graph.output.append(helper.make_tensor_value_info("raw_rows", I64, [None, 3]))
    for version in VERSIONS:
        assert dynamic_nodes(model, version) == {"NonMaxSuppression": {last.name}}


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_what_an_export_may_hold_every_release_lists(operator: str) -> None:
    from deploy.builders.releases import RELEASES

    assert all(release.operators[operator] for release in RELEASES.values())


def test_torchvisions_own_export_is_refused_with_its_nodes() -> None:
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = torchvision.models.detection.fasterrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, num_classes=3, min_size=96, max_size=128
        )
        torch.onnx.export(detector.eval(), ([torch.rand(3, 96, 128)],), content, dynamo=False, opset_version=17)
    model = onnx.load_from_string(content.getvalue())
    for version in VERSIONS:
        found = dynamic_nodes(model, version)
        for operator in ("NonZero", "If", "NonMaxSuppression"):
            assert found[operator] == set(names_of(model.graph, operator)), operator
        assert len(found["NonZero"]) > 3 and any("roi_heads" in name for name in found["NonZero"])
        assert len(found["NonMaxSuppression"]) == 2, "of region proposals, and of detections"


def names_of(graph: onnx.GraphProto, operator: str, prefix: str = "") -> list[str]:
    """Names of the nodes of an operator, in the bodies of others too."""
    names = [prefix + node.name for node in graph.node if node.op_type == operator]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                names += names_of(attribute.g, operator, f"{prefix}{node.name}/{attribute.name}/")
    return names


def routed_graph() -> onnx.ModelProto:
    """What such an export is made of: proposals kept by NonMaxSuppression, chosen by NonZero, pooled under an If."""
    node, value = helper.make_node, helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Add", ["carried", "carried"], ["next"])],
        "body",
        [value("step", I64, []), value("go", BOOL, []), value("carried", F32, [2])],
        [value("on", BOOL, []), value("next", F32, [2])],
    )
    branches = {
        f"{name}_branch": helper.make_graph(
            [node(op, inputs, [name], f"{name}_nms")], name, [], [value(name, I64, [None, 3])]
        )
        for name, op, inputs in (("then", "Identity", ["none"]),
                                 ("else", "NonMaxSuppression", ["boxes", "scores", "most"]))
    }  # fmt: skip
    nodes = [
        node("NonMaxSuppression", ["boxes", "scores", "most"], ["kept"], "rpn/nms"),
        node("Gather", ["kept", "column"], ["rows"], "rpn/rows", axis=1),
        node("Gather", ["flat", "rows"], ["rois"], "rpn/rois"),
        node("NonZero", ["rois"], ["level"], "pool/level"),
        node("If", ["empty"], ["final"], "post/if", **branches),
        node("Loop", ["times", "empty", "two"], ["looped"], "post/loop", body=body),
    ]
    constants = {"most": [9], "column": [2], "none": np.zeros((0, 3)), "times": 3}
    graph = helper.make_graph(
        nodes,
        "routed",
        [value("boxes", F32, [1, 60, 4]), value("scores", F32, [1, 1, 60]), value("flat", F32, [60]),
         value("empty", BOOL, []), value("two", F32, [2])],
        [value("level", I64, [None, None]), value("final", I64, [None, 3]), value("looped", F32, [2])],
        [onnx.numpy_helper.from_array(np.array(array, np.int64), name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_graph_made_like_it_is_refused_with_its_nodes(version: str) -> None:
    model = routed_graph()
    onnx.checker.check_model(model)
    assert dynamic_nodes(model, version) == {
        "NonMaxSuppression": {"rpn/nms", "post/if/else_branch/else_nms"},
        "NonZero": {"pool/level"},
        "If": {"post/if"},
        "Loop": {"post/loop"},
    }
