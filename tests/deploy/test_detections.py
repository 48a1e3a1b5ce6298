"""What was found, in the forms that others take."""

from __future__ import annotations

import numpy as np
import pytest

from deploy import Detections

NAMES = ("cat", "dog")
TWO = Detections(
    np.array([[1, 2, 3, 4], [5, 6, 70, 80]], np.float32), np.array([0.9, 0.5], np.float32), np.array([1, 0], np.int64)
)


@pytest.mark.parametrize("found", [TWO, Detections.empty()])
def test_supervisions_arrays_have_its_names_types_and_shapes(found: Detections) -> None:
    given = found.to_supervision(NAMES)
    assert set(given) == {"xyxy", "confidence", "class_id", "data"} and set(given["data"]) == {"class_name"}
    count = len(found)
    assert given["xyxy"].shape == (count, 4) and given["xyxy"].dtype == np.float32
    assert given["confidence"].shape == (count,) and given["confidence"].dtype == np.float32
    assert given["class_id"].shape == (count,) and given["class_id"].dtype == int
    assert given["data"]["class_name"].tolist() == [NAMES[label] for label in found.labels]
    assert given["data"]["class_name"].dtype.kind == "U"


def test_without_names_there_is_no_data_and_nothing_is_shared() -> None:
    given = TWO.to_supervision()
    assert given["data"] == {}
    given["xyxy"][:], given["class_id"][:] = -1, -1
    assert TWO.boxes_xyxy.min() > 0 and TWO.labels.tolist() == [1, 0]


@pytest.mark.parametrize("found", [TWO, Detections.empty()])
def test_supervision_takes_them(found: Detections) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    for names in (NAMES, ()):
        taken = supervision.Detections(**found.to_supervision(names))
        assert len(taken) == len(found)
        np.testing.assert_array_equal(taken.xyxy, found.boxes_xyxy)
    confident = supervision.Detections(**TWO.to_supervision(NAMES))
    confident = confident[confident.confidence > 0.6]
    assert confident["class_name"].tolist() == ["dog"] and confident.class_id.tolist() == [1]
