"""The whole path from an image to objects in its pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deploy import Bundle, Detector, ModelSource, Preprocess, open_detector
from deploy.errors import EngineError, InputError


def test_boxes_come_back_in_image_pixels(tiny_bundle: Bundle) -> None:
    image = np.zeros((96, 128, 3), np.uint8)  # twice the canvas
    found = Detector(tiny_bundle)(image)
    assert found.boxes_xyxy.tolist() == [[16, 16, 64, 48], [0, 0, 128, 96]]
    assert found.labels.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx([0.9, 0.4])


def test_boxes_are_clipped_to_an_image_that_leaves_padding(tiny_bundle: Bundle) -> None:
    image = np.zeros((48, 10, 3), np.uint8)
    found = Detector(tiny_bundle)(image)
    assert found.boxes_xyxy.tolist() == [[8, 8, 10, 24], [0, 0, 10, 48]]


def test_one_pixel_is_an_image(tiny_bundle: Bundle) -> None:
    found = Detector(tiny_bundle)(np.zeros((1, 1, 3), np.uint8))
    assert len(found) == 2 and found.boxes_xyxy.max() <= 1


def test_a_file_is_as_good_as_its_pixels(tiny_bundle: Bundle, write_image: Callable[..., Path]) -> None:
    path = write_image()
    with open_detector(tiny_bundle.folder) as detector:
        assert detector(path).boxes_xyxy.tolist() == detector(str(path)).boxes_xyxy.tolist()


def test_the_image_is_not_written_to(tiny_bundle: Bundle) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    kept = image.copy()
    Detector(tiny_bundle)(image)
    assert (image == kept).all()


def test_times_are_given_apart(tiny_bundle: Bundle) -> None:
    _, timings = Detector(tiny_bundle).detect_timed(np.zeros((9, 9, 3), np.uint8))
    assert timings.pre_ms > 0 and timings.infer_ms > 0
    assert timings.total_ms == timings.pre_ms + timings.infer_ms


def test_a_canvas_that_is_not_the_models_is_refused(tiny_model: Path) -> None:
    with pytest.raises(InputError, match=r"\[1, 3, 32, 32\].*\[1, 3, 48, 64\]"):
        Detector(ModelSource(tiny_model, Preprocess(32, 32), "detections"))


def test_a_closed_detector_says_so(tiny_bundle: Bundle) -> None:
    with Detector(tiny_bundle) as detector:
        pass
    with pytest.raises(EngineError, match="closed"):
        detector(np.zeros((9, 9, 3), np.uint8))
