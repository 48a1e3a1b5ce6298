"""What every kind of head does, whatever its models answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deploy.engines import TensorSpec
from deploy.errors import InputError
from deploy.pipeline import candidates, yolox
from deploy.pipeline.decode import HEADS, Head

SIZE = (64, 32)
CLASSES = 3
RNG = np.random.default_rng(0)

# Of each kind of head: what one of its models answers on a canvas of 64x32.
ANSWERS: dict[str, dict[str, np.ndarray]] = {
    "detections": {
        "boxes": RNG.uniform(0, 30, (5, 4)).astype(np.float32),
        "scores": np.array([0.9, 0.5, 0.2, 7, 8], np.float32),
        "labels": np.array([2, 0, 1, 99, -1], np.int64),
        "count": np.array([3], np.int64),
    },
    "candidates": {
        "boxes": RNG.uniform(0, 30, (5, 4)).astype(np.float32),
        "scores": np.array([0.2, 0.9, 0.01, 0.5, 0.0], np.float32),
        "labels": np.array([2, 0, 1, 1, 0], np.int64),
    },
    "yolox": {"output": RNG.uniform(0, 1, (1, 42, 5 + CLASSES)).astype(np.float32)},
    "yolov5": {"output0": RNG.uniform(0, 1, (1, 3 * 42, 5 + CLASSES)).astype(np.float32)},
    "yolov8": {"output0": RNG.uniform(0, 1, (1, 4 + CLASSES, 42)).astype(np.float32)},
    "end2end": {"output0": np.array([[[1, 2, 20, 30, 0.9, 2], [3, 4, 9, 8, 0.5, 0], [0, 0, 0, 0, 0, 0]]], np.float32)},
    "detr": {
        "pred_logits": RNG.normal(0, 2, (1, 5, CLASSES)).astype(np.float32),
        "pred_boxes": RNG.uniform(0.2, 0.4, (1, 5, 4)).astype(np.float32),
    },
    "ranked": {
        "boxes": RNG.uniform(0, 30, (1, 5, 4)).astype(np.float32),
        "scores": np.array([[0.2, 0.9, 0.01, 0.5, 0.0]], np.float32),
        "labels": np.array([[2, 0, 1, 1, 0]], np.int64),
    },
    "fastestdet": {"output": RNG.uniform(0, 1, (1, 5 + CLASSES, 2, 4)).astype(np.float32)},
}


def specs(outputs: dict[str, np.ndarray]) -> list[TensorSpec]:
    return [TensorSpec(name, value.shape, value.dtype.name) for name, value in outputs.items()]


@pytest.fixture(params=sorted(HEADS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def head(name: str) -> Head:
    return HEADS[name]


@pytest.fixture
def answer(name: str) -> dict[str, np.ndarray]:
    return {key: value.copy() for key, value in ANSWERS[name].items()}


def test_every_head_has_an_answer_here() -> None:
    assert set(ANSWERS) == set(HEADS)


def test_objects_come_best_first_with_labels_of_the_classes(head: Head, answer: dict[str, np.ndarray]) -> None:
    found = head.decode(answer, SIZE)
    assert 0 < len(found) <= 100 and (np.diff(found.scores) <= 0).all()
    assert found.boxes_xyxy.dtype == found.scores.dtype == np.float32 and found.labels.dtype == np.int64
    assert found.labels.min() >= 0 and found.labels.max() < CLASSES


def test_decoding_is_pure_and_its_results_are_the_callers(head: Head, answer: dict[str, np.ndarray], name: str) -> None:
    for value in answer.values():
        value.setflags(write=False)
    first, second = head.decode(answer, SIZE), head.decode(answer, SIZE)
    np.testing.assert_array_equal(first.boxes_xyxy, second.boxes_xyxy)
    first.boxes_xyxy[:], first.scores[:], first.labels[:] = -1, -1, -1
    assert second.scores.min() > 0
    for key, value in answer.items():
        np.testing.assert_array_equal(value, ANSWERS[name][key])


def test_decoding_with_the_same_selection_is_the_same(head: Head, answer: dict[str, np.ndarray]) -> None:
    usual = {"candidates": candidates.USUAL_SELECTION, "yolox": yolox.USUAL_SELECTION}
    for selection in (value for name, value in usual.items() if HEADS[name] is head):
        found, expected = head.decode(answer, SIZE, selection), head.decode(answer, SIZE)
        np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)
        assert len(head.decode(answer, SIZE, replace(selection, max_detections=1))) == 1
        assert len(head.decode(answer, SIZE, replace(selection, score_threshold=0.999))) == 0


def test_its_models_pass_and_the_classes_are_counted_if_they_show(head: Head, answer: dict[str, np.ndarray]) -> None:
    assert head.count_classes(specs(answer), SIZE) in (CLASSES, None)


# A grid of yolox's is also one of yolov8's with its axes swapped and one class more: no shape tells them apart.
LOOK_ALIKE = {"yolov8": {"yolox"}}


def test_models_of_other_heads_are_refused_in_one_line(head: Head, name: str) -> None:
    for other in sorted(set(HEADS) - {name} - LOOK_ALIKE.get(name, set())):
        with pytest.raises(InputError) as caught:
            head.count_classes(specs(ANSWERS[other]), SIZE)
        assert "\n" not in str(caught.value) and next(iter(ANSWERS[other])) in str(caught.value)


def test_outputs_of_free_size_and_of_another_rank_are_refused(head: Head, answer: dict[str, np.ndarray]) -> None:
    for spec in specs(answer):
        for shape in ((None, *spec.shape[1:]), (*spec.shape, 1)):
            changed = [spec._replace(shape=shape) if item == spec else item for item in specs(answer)]
            with pytest.raises(InputError, match="of fixed shape"):
                head.count_classes(changed, SIZE)


def test_no_outputs_are_refused(head: Head) -> None:
    with pytest.raises(InputError):
        head.count_classes([], SIZE)


def test_it_says_what_it_is_and_how_its_models_are_fed(head: Head) -> None:
    preprocess = head.usual_preprocess(*SIZE)
    assert (preprocess.width, preprocess.height) == SIZE and head.summary and "\n" not in head.summary
