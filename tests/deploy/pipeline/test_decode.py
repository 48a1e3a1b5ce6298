"""Padding is never read as a detection."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.errors import EngineError, InputError
from deploy.pipeline.decode import decode_detections, get_head

SIZE = (64, 48)


def outputs(count: int, rows: int = 3) -> dict[str, np.ndarray]:
    return {
        "boxes": np.arange(rows * 4, dtype=np.float32).reshape(rows, 4),
        "scores": np.linspace(0.9, 0.1, rows, dtype=np.float32),
        "labels": np.arange(rows, dtype=np.int64),
        "count": np.array([count], np.int64),
    }


@pytest.mark.parametrize("count", [0, 1, 3])
def test_only_counted_rows_are_read(count: int) -> None:
    found = decode_detections(outputs(count), SIZE)
    assert len(found) == count
    assert found.labels.tolist() == list(range(count))


@pytest.mark.parametrize("count", [-1, 4])
def test_a_count_outside_the_rows_is_the_models_fault(count: int) -> None:
    with pytest.raises(EngineError, match=f"counts {count} detections in 3 rows"):
        decode_detections(outputs(count), SIZE)


def test_results_do_not_share_memory_with_outputs() -> None:
    raw = outputs(2)
    found = decode_detections(raw, SIZE)
    raw["boxes"][:] = -1
    assert found.boxes_xyxy.min() >= 0


def test_missing_outputs_are_named() -> None:
    raw = outputs(1)
    del raw["labels"], raw["count"]
    with pytest.raises(InputError, match="no output labels, count; it has boxes, scores"):
        decode_detections(raw, SIZE)


def test_an_unknown_head_lists_those_there_are() -> None:
    with pytest.raises(InputError, match=r"'yolo'.*detections"):
        get_head("yolo")
