"""Records on the training canvas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deploy.data.records import Record
from deploy.errors import InputError
from deploy.pipeline.preprocess import Preprocess
from optimizer.data.canvas import normalise_canvas, place_record


@pytest.fixture
def record(tmp_path: Path) -> Record:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    boxes = np.array([[0, 0, 80, 60], [10, 10, 30, 40], [5, 5, 6, 25], [20, 20, 70, 50]], np.float32)
    return Record(1, tmp_path / "a.png", 80, 60, boxes, np.array([0, 1, 2, 3]), np.array([False, False, False, True]))


def test_boxes_are_scaled_and_crowds_and_vanished_ones_left_out(record: Record) -> None:
    canvas, truth = place_record(record, Preprocess.imagenet(40, 40))
    assert canvas.shape == (3, 40, 40) and canvas.dtype == torch.uint8
    assert truth.boxes_xyxy.tolist() == [[0, 0, 40, 30], [5, 5, 15, 20]] and truth.labels.tolist() == [0, 1]
    assert truth.boxes_xyxy.dtype == torch.float32 and truth.labels.dtype == torch.int64


def test_the_canvas_is_the_runtimes(record: Record) -> None:
    preprocess = Preprocess.imagenet(40, 40)
    canvas, _ = place_record(record, preprocess)
    expected = preprocess.canvas(np.asarray(Image.open(record.path)))
    np.testing.assert_array_equal(canvas.permute(1, 2, 0).numpy(), expected)
    np.testing.assert_array_equal(normalise_canvas(canvas, preprocess).numpy(), preprocess.normalise(expected))


def test_no_objects_keep_their_shape(record: Record) -> None:
    empty = replace(
        record, boxes_xyxy=np.zeros((0, 4), np.float32), labels=np.zeros(0, np.int64), crowd=np.zeros(0, bool)
    )
    _, truth = place_record(empty, Preprocess.imagenet(40, 40))
    assert truth.boxes_xyxy.shape == (0, 4) and truth.labels.shape == (0,)


def test_an_image_of_another_size_than_its_labels_is_refused(record: Record) -> None:
    with pytest.raises(InputError, match="80x60, its labels are for 800x600"):
        place_record(replace(record, width=800, height=600), Preprocess.imagenet(40, 40))
