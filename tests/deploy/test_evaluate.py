"""Average precision against pycocotools on hand-made cases."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest

from deploy.data.records import Dataset, Record
from deploy.detections import Detections
from deploy.errors import InputError
from deploy.evaluate import evaluate_detections

SMALL, MEDIUM, LARGE = (10, 10, 30, 30), (10, 10, 80, 80), (10, 10, 180, 180)


def record(image_id: int, boxes: list[tuple[int, ...]], labels: list[int], crowd: list[bool] | None = None) -> Record:
    return Record(
        image_id, Path(f"{image_id}.png"), 200, 200, np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64), np.array(crowd or [False] * len(labels), bool),
    )  # fmt: skip


def found(boxes: list[tuple[int, ...]], labels: list[int], scores: list[float] | None = None) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores or [0.9] * len(labels), np.float32),
        np.array(labels, np.int64),
    )


@pytest.fixture
def dataset() -> Dataset:
    records = (record(5, [SMALL, LARGE], [0, 1]), record(9, [MEDIUM], [0]), record(11, [], []))
    return Dataset(("cat", "dog", "bird"), records, ())


def test_perfect_detections_have_precision_1(dataset: Dataset) -> None:
    results = [(r.image_id, found([tuple(b) for b in r.boxes_xyxy], list(r.labels))) for r in dataset.records]
    precision = evaluate_detections(dataset, results)
    assert precision.ap == precision.ap50 == precision.ap75 == pytest.approx(1)
    assert (precision.ap_small, precision.ap_medium, precision.ap_large) == pytest.approx((1, 1, 1))
    assert precision.by_class[:2] == pytest.approx((1, 1)) and precision.by_class[2] is None


def test_no_detections_have_precision_0_also_by_size_and_class(dataset: Dataset) -> None:
    for results in ([], [(r.image_id, Detections.empty()) for r in dataset.records]):
        precision = evaluate_detections(dataset, results)
        assert (precision.ap, precision.ap50, precision.ap75) == (0, 0, 0)
        assert (precision.ap_small, precision.ap_medium, precision.ap_large) == (0, 0, 0)
        assert precision.by_class == (0, 0, None)


def test_a_size_that_no_object_has_is_none() -> None:
    dataset = Dataset(("cat",), (record(1, [LARGE], [0]),), ())
    precision = evaluate_detections(dataset, [(1, found([LARGE], [0]))])
    assert precision.ap_small is None and precision.ap_medium is None and precision.ap_large == pytest.approx(1)


def test_the_wrong_class_is_not_found(dataset: Dataset) -> None:
    precision = evaluate_detections(dataset, [(9, found([MEDIUM], [1]))])
    assert precision.ap == 0


def test_a_detection_on_a_crowd_costs_nothing_and_a_crowd_need_not_be_found() -> None:
    crowded = Dataset(("cat",), (record(1, [SMALL, LARGE], [0, 0], [False, True]),), ())
    plain = Dataset(("cat",), (record(1, [SMALL], [0]),), ())
    results = [(1, found([(100, 100, 150, 150), SMALL], [0, 0], [0.9, 0.8]))]
    assert evaluate_detections(crowded, results).ap == pytest.approx(1)
    assert evaluate_detections(plain, results).ap == pytest.approx(0.5)


def test_a_box_of_iou_062_counts_up_to_060() -> None:
    """By hand: IoU 62/100 passes the thresholds 0.50, 0.55, 0.60 of ten."""
    dataset = Dataset(("cat",), (record(1, [(0, 0, 100, 100)], [0]),), ())
    precision = evaluate_detections(dataset, [(1, found([(0, 0, 62, 100)], [0]))])
    assert precision.ap == pytest.approx(0.3) and precision.ap50 == pytest.approx(1) and precision.ap75 == 0


def test_it_agrees_with_pycocotools_used_by_hand() -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(3)
    records, results, annotations, rows = [], [], [], []
    for image_id in range(1, 13):
        corners = rng.uniform(0, 120, (5, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(8, 160, (5, 2))], axis=1).astype(np.float32)
        labels = rng.integers(0, 2, 5)
        records.append(record(image_id, [tuple(box) for box in boxes], list(labels)))
        guesses = (boxes + rng.normal(0, 4, boxes.shape)).astype(np.float32)
        scores = -np.sort(-rng.uniform(0, 1, 5)).astype(np.float32)
        results.append((image_id, Detections(guesses, scores, labels)))
        for box, guess, label, score in zip(boxes.tolist(), guesses.tolist(), labels.tolist(), scores.tolist()):
            size = [box[2] - box[0], box[3] - box[1]]
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, "category_id": label, "iscrowd": 0,
                                "bbox": [*box[:2], *size], "area": size[0] * size[1]})  # fmt: skip
            rows.append({"image_id": image_id, "category_id": label, "score": score,
                         "bbox": [*guess[:2], guess[2] - guess[0], guess[3] - guess[1]]})  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"info": {}, "images": [{"id": i} for i in range(1, 13)], "annotations": annotations,
                        "categories": [{"id": 0}, {"id": 1}]}  # fmt: skip
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(rows), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluate_detections(Dataset(("cat", "dog"), tuple(records), ()), results)
    ours = (precision.ap, precision.ap50, precision.ap75, precision.ap_small, precision.ap_medium, precision.ap_large)
    assert 0.2 < precision.ap < 0.9
    assert ours == pytest.approx(tuple(evaluation.stats[:6]), abs=1e-9)
    assert np.mean([value for value in precision.by_class if value is not None]) == pytest.approx(precision.ap)


def test_nothing_is_printed(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate_detections(dataset, [(9, found([MEDIUM], [0]))])
    assert capsys.readouterr().out == ""


def test_without_an_object_there_is_no_precision() -> None:
    dataset = Dataset(("cat",), (record(1, [], []), record(2, [LARGE], [0], [True])), ())
    with pytest.raises(InputError, match="no object in 2 images"):
        evaluate_detections(dataset, [])
