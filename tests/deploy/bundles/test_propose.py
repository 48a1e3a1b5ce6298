"""Models as others export them: the head that fits is proposed, and the boxes are those that were put in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy import ModelStatement, adopt_model, open_detector
from deploy.bundles.propose import propose_head
from deploy.engines import TensorSpec
from deploy.errors import InputError
from deploy.pipeline.decode import get_head

SIDE, CELLS, CLASSES = 64, 84, ("cat", "dog", "cow")
BOX = [8.0, 16.0, 40.0, 48.0]  # of a cow, in pixels of the canvas
CXCYWH = [24.0, 32.0, 32.0, 32.0]
KINDS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16,
         np.dtype(np.int64): TensorProto.INT64, np.dtype(np.uint8): TensorProto.UINT8}  # fmt: skip
Outputs = dict[str, np.ndarray]


def write_model(
    path: Path, outputs: Outputs, kind: np.dtype | type = np.float32, shape: tuple[int, ...] = (1, 3, SIDE, SIDE),
    sizes: bool = False,
) -> Path:  # fmt: skip
    """A model that answers the same to every image."""
    inputs = [helper.make_tensor_value_info("images", KINDS[np.dtype(kind)], shape)]
    if sizes:
        inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, (1, 2)))
    infos = [helper.make_tensor_value_info(name, KINDS[value.dtype], value.shape) for name, value in outputs.items()]
    nodes = [helper.make_node("Identity", [f"{name}_value"], [name]) for name in outputs]
    constants = [numpy_helper.from_array(value, f"{name}_value") for name, value in outputs.items()]
    graph = helper.make_graph(nodes, "known", inputs, infos, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def yolov8() -> Outputs:
    columns = np.zeros((1, 4 + len(CLASSES), CELLS), np.float32)
    columns[0, :, 30] = [*CXCYWH, 0.1, 0, 0.8]
    columns[0, :, 31] = [*CXCYWH, 0, 0, 0.7]  # suppressed by the other
    return {"output0": columns}


def yolov8_transposed() -> Outputs:
    return {"output0": np.ascontiguousarray(yolov8()["output0"].transpose(0, 2, 1))}


def yolov5() -> Outputs:
    rows = np.zeros((1, 3 * CELLS, 5 + len(CLASSES)), np.float32)
    rows[0, 99] = [*CXCYWH, 0.8, 0, 0, 1]
    return {"output": rows}


def end2end() -> Outputs:
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = [*BOX, 0.8, 2]
    return {"output0": rows}


def detr(logits: str = "pred_logits", boxes: str = "pred_boxes") -> Outputs:
    scores = np.full((1, 300, len(CLASSES)), -20, np.float32)
    scores[0, 7, 2] = np.log(0.8 / 0.2)
    shares = np.full((1, 300, 4), 0.5, np.float32)
    shares[0, 7] = np.array(CXCYWH) / SIDE
    return {logits: scores, boxes: shares}


def rf_detr() -> Outputs:
    return {"dets": detr()["pred_boxes"], "labels": detr()["pred_logits"]}


def ranked() -> Outputs:
    boxes, scores = np.zeros((1, 300, 4), np.float32), np.zeros((1, 300), np.float32)
    labels = np.zeros((1, 300), np.int64)
    boxes[0, 5], scores[0, 5], labels[0, 5] = BOX, 0.8, 2
    return {"labels": labels, "boxes": boxes, "scores": scores}


def fastestdet() -> Outputs:
    cells = np.zeros((1, 5 + len(CLASSES), 4, 4), np.float32)
    cells[0, 3:5] = -9  # elsewhere tiny boxes
    sides = np.log(0.5 / 0.5)  # half of the canvas, before the sigmoid
    for column, sure in ((1, 0.8), (2, 0.7)):  # the second one is suppressed by the first
        x = np.arctanh(24 / 16 - column)
        cells[0, :, 2, column] = [sure, x, 0, sides, sides, 0, 0, sure]
    return {"output": cells}


MODELS: dict[str, tuple[str, Callable[[], Outputs]]] = {
    "yolov8": ("yolov8", yolov8),
    "yolov8 transposed": ("yolov8", yolov8_transposed),
    "yolov5": ("yolov5", yolov5),
    "end2end": ("end2end", end2end),
    "detr": ("detr", detr),
    "rf-detr": ("detr", rf_detr),
    "ranked": ("ranked", ranked),
    "fastestdet": ("fastestdet", fastestdet),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("half", [False, True])
def test_the_head_is_proposed_with_a_reason_and_finds_the_box(tmp_path: Path, name: str, half: bool) -> None:
    head, make = MODELS[name]
    outputs = {key: value.astype(np.float16) if half and value.dtype.kind == "f" else value
               for key, value in make().items()}  # fmt: skip
    said: list[str] = []
    model = write_model(tmp_path / "m.onnx", outputs, np.float16 if half else np.float32)
    bundle = adopt_model(model, tmp_path / "out", ModelStatement(CLASSES), trust=True, report=said.append)
    assert bundle.head == head and len(said) == 1 and f"head {head}" in said[0] and next(iter(outputs)) in said[0]
    with open_detector(tmp_path / "out") as detector:
        found = detector(np.zeros((SIDE, SIDE, 3), np.uint8)).above(0.5)
    np.testing.assert_allclose(found.boxes_xyxy, [BOX], atol=0.05)
    assert found.labels.tolist() == [2] and found.scores == pytest.approx([0.8], abs=1e-3)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_channels_may_be_last_and_levels_whole_numbers(tmp_path: Path, kind: type) -> None:
    model = write_model(tmp_path / "m.onnx", end2end(), kind, (1, SIDE, SIDE, 3))
    adopt_model(model, tmp_path / "out", ModelStatement(CLASSES, "end2end"), trust=True)
    with open_detector(tmp_path / "out") as detector:
        assert detector(np.zeros((SIDE, SIDE, 3), np.uint8)).labels[0] == 2


def test_a_model_that_is_told_the_canvas_gets_it(tmp_path: Path) -> None:
    adopt_model(
        write_model(tmp_path / "m.onnx", ranked(), sizes=True), tmp_path / "out", ModelStatement(CLASSES), trust=True
    )
    with open_detector(tmp_path / "out") as detector:
        found = detector(np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8)).above(0.5)
    np.testing.assert_allclose(found.boxes_xyxy, [2 * np.array(BOX)])


def test_the_number_of_classes_tells_two_heads_apart() -> None:
    outputs = [TensorSpec("output", (1, CELLS, 8), "float32")]
    assert propose_head(outputs, 1, (SIDE, SIDE), 3).head == "yolox"
    assert propose_head(outputs, 1, (SIDE, SIDE), 4).head == "yolov8"
    with pytest.raises(InputError, match="yolox, yolov8; say which"):
        propose_head(outputs, 1, (SIDE, SIDE), 80)


def test_outputs_of_no_head_are_listed_with_the_heads() -> None:
    with pytest.raises(InputError, match=r"'odd' \[7\] float32.*no head that is known.*yolox: "):
        propose_head([TensorSpec("odd", (7,), "float32")], 1, (SIDE, SIDE), 3)


@pytest.mark.parametrize(
    ("head", "value", "words"),
    [("end2end", np.nan, "wants probabilities"), ("yolov8", np.nan, "sigmoids"), ("yolov8", 7, "sigmoids")],
)
def test_scores_that_are_none_are_refused(tmp_path: Path, head: str, value: float, words: str) -> None:
    outputs = MODELS[head][1]()
    (output,) = outputs.values()
    output[0, -1, 4] = value
    with pytest.raises(InputError, match=words):
        adopt_model(
            write_model(tmp_path / "m.onnx", outputs), tmp_path / "out", ModelStatement(CLASSES, head), trust=True
        )


@pytest.mark.parametrize(("channel", "value"), [(0, np.nan), (0, 3), (7, -1), (7, np.inf)])
def test_a_map_whose_scores_are_none_is_refused(tmp_path: Path, channel: int, value: float) -> None:
    outputs = fastestdet()
    outputs["output"][0, channel, 0, 0] = value
    model = write_model(tmp_path / "m.onnx", outputs)
    with pytest.raises(InputError, match="fastestdet head wants probabilities"):
        adopt_model(model, tmp_path / "out", ModelStatement(CLASSES, "fastestdet"), trust=True)


@pytest.mark.parametrize("shape", [(1, 8, 4, 5), (1, 8, 3, 4), (1, 5, 4, 4), (2, 8, 4, 4), (1, 8, 4, None), (1, 8, 16)])
def test_a_map_that_does_not_cover_the_canvas_is_no_map(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(InputError, match="fastestdet head on 64x64"):
        get_head("fastestdet").count_classes([TensorSpec("output", shape, "float32")], (SIDE, SIDE))


def test_boxes_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    outputs = end2end()
    outputs["output0"][0, 0, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        adopt_model(
            write_model(tmp_path / "m.onnx", outputs), tmp_path / "out", ModelStatement(CLASSES, "end2end"), trust=True
        )


def test_more_detections_may_be_kept(tmp_path: Path) -> None:
    outputs = end2end()
    outputs["output0"][0, :250] = [*BOX, 0.8, 2]
    model = write_model(tmp_path / "m.onnx", outputs)
    for limit, count in ((None, 100), (200, 200)):
        folder = tmp_path / f"out{count}"
        bundle = adopt_model(model, folder, ModelStatement(CLASSES, "end2end", max_detections=limit), trust=True)
        with open_detector(folder) as detector:
            assert len(detector(np.zeros((SIDE, SIDE, 3), np.uint8))) == count == bundle.manifest.max_detections
