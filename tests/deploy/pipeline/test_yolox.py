"""A YOLOX head's rows against boxes computed by hand, and outputs that are not of that kind."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.engines import TensorSpec
from deploy.errors import InputError
from deploy.pipeline.yolox import count_yolox_classes, decode_yolox

SIZE = (64, 32)  # grids of 8x4, 4x2 and 2x1 cells: rows 0 to 31, 32 to 39, 40 and 41
CELLS, CLASSES = 42, 3


def output(rows: dict[int, list[float]]) -> dict[str, np.ndarray]:
    """Rows by index; the others are sure of nothing."""
    values = np.zeros((1, CELLS, 5 + CLASSES), np.float32)
    for index, row in rows.items():
        values[0, index] = row
    return {"output": values}


def spec(*shape: int | None) -> TensorSpec:
    return TensorSpec("output", shape, "float32")


@pytest.mark.parametrize(
    ("index", "centre"),
    [
        (0, (4, 4)),  # stride 8, column 0, row 0
        (11, (28, 12)),  # stride 8, column 3, row 1
        (31, (60, 28)),  # stride 8, the last
        (32, (8, 8)),  # stride 16, the first
        (38, (40, 24)),  # stride 16, column 2, row 1
        (41, (48, 16)),  # stride 32, column 1, row 0
    ],
)
def test_a_row_belongs_to_its_cell(index: int, centre: tuple[int, int]) -> None:
    stride = 8 if index < 32 else 16 if index < 40 else 32
    row = [0.5, 0.5, np.log(10 / stride), np.log(6 / stride), 0.8, 0, 0.5, 0]
    found = decode_yolox(output({index: row}), SIZE)
    x, y = centre
    np.testing.assert_allclose(found.boxes_xyxy, [[x - 5, y - 3, x + 5, y + 3]], rtol=1e-5)
    assert found.labels.tolist() == [1] and found.scores.tolist() == pytest.approx([0.4])


def test_a_row_counts_for_each_of_its_classes_above_the_least_score() -> None:
    found = decode_yolox(output({5: [0, 0, 0, 0, 0.1, 0.9, 0.009, 0.5]}), SIZE)
    assert found.labels.tolist() == [0, 2] and found.scores.tolist() == pytest.approx([0.09, 0.05])
    np.testing.assert_array_equal(found.boxes_xyxy, [[36, -4, 44, 4]] * 2)


def test_overlapping_rows_of_one_class_are_one_object() -> None:
    same = {0: [1, 0, 0, 0, 1, 0.5, 0, 0], 1: [0, 0, 0, 0, 1, 0.9, 0, 0], 2: [-1, 0, 0, 0, 1, 0, 0.7, 0]}
    found = decode_yolox(output(same), SIZE)
    assert found.labels.tolist() == [0, 1] and found.scores.tolist() == pytest.approx([0.9, 0.7])


def test_no_more_than_a_hundred_come_out_best_first() -> None:
    rng = np.random.default_rng(0)
    raw = output({})
    raw["output"][0, :, 4:] = rng.uniform(0.2, 1, (CELLS, 1 + CLASSES))
    raw["output"][0, :, 2:4] = -3
    found = decode_yolox(raw, SIZE)
    assert len(found) == 100 and (np.diff(found.scores) <= 0).all()
    scores = np.sort((raw["output"][0, :, 4:5] * raw["output"][0, :, 5:]).ravel())[::-1]
    np.testing.assert_array_equal(found.scores, scores[:100])


def test_nothing_found_is_no_detections() -> None:
    assert len(decode_yolox(output({}), SIZE)) == 0


def test_half_precision_is_decoded_in_single() -> None:
    raw = {"output": output({11: [0.5, 0.5, 0, 0, 1, 1, 0, 0]})["output"].astype(np.float16)}
    found = decode_yolox(raw, SIZE)
    assert found.boxes_xyxy.dtype == found.scores.dtype == np.float32
    assert found.boxes_xyxy.tolist() == [[24, 8, 32, 16]]


@pytest.mark.parametrize("score", [1.5, -0.1, np.nan])
def test_scores_that_are_no_probabilities_are_refused(score: float) -> None:
    with pytest.raises(InputError, match="export it with its sigmoids"):
        decode_yolox(output({3: [0, 0, 0, 0, score, 0, 0, 0]}), SIZE)


def test_boxes_that_are_decoded_already_are_refused() -> None:
    with pytest.raises(InputError, match=r"box sizes reach 120.*without decoding"):
        decode_yolox(output({3: [30, 20, 120, 40, 0.5, 1, 0, 0]}), SIZE)


def test_the_classes_are_counted() -> None:
    assert count_yolox_classes([spec(1, CELLS, 5 + CLASSES)], SIZE) == CLASSES
    assert count_yolox_classes([spec(1, 3549, 85)], (416, 416)) == 80


@pytest.mark.parametrize(
    "shape",
    [(1, CELLS, 5), (1, CELLS + 1, 8), (2, CELLS, 8), (1, 8, CELLS), (1, CELLS, None), (None, CELLS, 8), (CELLS, 8)],
)
def test_an_output_of_another_shape_is_named_with_what_was_wanted(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(InputError, match=r"64x32 has one output \[1, 42, 5 \+ classes\].*'output' \["):
        count_yolox_classes([spec(*shape)], SIZE)


def test_several_outputs_and_a_canvas_of_broken_cells_are_refused() -> None:
    with pytest.raises(InputError, match="one output"):
        count_yolox_classes([spec(1, CELLS, 8), spec(1, CELLS, 8)], SIZE)
    with pytest.raises(InputError, match="multiples of 32; this is 64x48"):
        count_yolox_classes([spec(1, CELLS, 8)], (64, 48))
