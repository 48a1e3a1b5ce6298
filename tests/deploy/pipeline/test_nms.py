"""Suppression class by class, on boxes whose overlaps are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.pipeline.nms import select_best

# The second shares 80 of 120 pixels with the first (IoU 2/3), the third 50 of 150 (IoU 1/3); the fourth is elsewhere.
BOXES = np.array([[0, 0, 10, 10], [2, 0, 12, 10], [5, 0, 15, 10], [50, 50, 60, 60]], np.float32)
SCORES = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
ONE_CLASS = np.zeros(4, np.int64)


@pytest.mark.parametrize(
    ("iou_threshold", "kept"), [(0.7, [0, 1, 2, 3]), (0.66, [0, 2, 3]), (0.34, [0, 2, 3]), (0.33, [0, 3])]
)
def test_what_overlaps_a_better_box_by_more_than_the_threshold_goes(iou_threshold: float, kept: list[int]) -> None:
    assert select_best(BOXES, SCORES, ONE_CLASS, iou_threshold, 100).tolist() == kept


def test_another_class_is_not_suppressed() -> None:
    assert select_best(BOXES, SCORES, np.array([0, 1, 0, 0]), 0.3, 100).tolist() == [0, 1, 3]


def test_a_box_that_was_suppressed_suppresses_nothing() -> None:
    # The third overlaps the second by 70 of 130 pixels, but the second is gone.
    assert select_best(BOXES[:3], SCORES[:3], ONE_CLASS[:3], 0.5, 100).tolist() == [0, 2]


def test_the_best_come_first_and_no_more_than_the_limit() -> None:
    assert select_best(BOXES, SCORES[::-1], ONE_CLASS, 0.7, 2).tolist() == [3, 2]


def test_of_equal_scores_the_first_is_kept() -> None:
    same = np.repeat(BOXES[:1], 3, axis=0)
    assert select_best(same, np.full(3, 0.5, np.float32), ONE_CLASS[:3], 0.5, 100).tolist() == [0]


def test_boxes_without_area_and_no_boxes_are_no_trouble() -> None:
    points = np.ones((2, 4), np.float32)
    with np.errstate(all="raise"):
        assert select_best(points, SCORES[:2], ONE_CLASS[:2], 0.5, 100).tolist() == [0, 1]
        assert select_best(points[:0], SCORES[:0], ONE_CLASS[:0], 0.5, 100).tolist() == []


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.3, 0.5, 0.65]))
def test_it_is_torchvisions_batched_nms(seed: int, iou_threshold: float) -> None:
    torch, ops = pytest.importorskip("torch"), pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(seed)
    corner, size = rng.random((80, 2)) * 60, 5 + rng.random((80, 2)) * 40
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    scores, labels = rng.permutation(80).astype(np.float32) / 80, rng.integers(0, 3, 80)
    theirs = ops.batched_nms(*map(torch.from_numpy, (boxes, scores, labels)), iou_threshold)
    assert select_best(boxes, scores, labels, iou_threshold, 100).tolist() == theirs.tolist()
