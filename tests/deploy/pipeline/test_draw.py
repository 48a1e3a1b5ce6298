"""Annotated pictures: a copy, readable at the border, a colour a class."""

from __future__ import annotations

import numpy as np
import pytest

from deploy import Detections
from deploy.pipeline.draw import choose_colour, draw_detections


def found(*boxes: tuple[float, float, float, float]) -> Detections:
    count = len(boxes)
    return Detections(np.array(boxes, np.float32), np.linspace(0.9, 0.5, count, dtype=np.float32), np.arange(count))


def test_no_object_leaves_the_picture_as_it_is() -> None:
    image = np.full((40, 60, 3), 90, np.uint8)
    assert (draw_detections(image, Detections.empty(), ()) == image).all()


def test_the_original_is_not_drawn_on() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    drawn = draw_detections(image, found((20, 50, 100, 100)), ("cat",))
    assert image.max() == 0 and drawn.shape == image.shape
    assert tuple(drawn[100, 60]) == choose_colour(0), "the lower edge of the box"


@pytest.mark.parametrize("box", [(0, 0, 159, 119), (150, 110, 160, 120), (0, 0, 0, 0)])
def test_a_box_at_the_border_is_named_inside_the_picture(box: tuple[float, float, float, float]) -> None:
    drawn = draw_detections(np.zeros((120, 160, 3), np.uint8), found(box), ("a rather long name",))
    plate = (drawn == np.array(choose_colour(0))).all(axis=2)
    assert plate.sum() > 400, "the plate behind the name"


def test_neighbouring_classes_differ_in_colour() -> None:
    colours = [np.array(choose_colour(label), int) for label in range(20)]
    gaps = [np.abs(a - b).sum() for i, a in enumerate(colours) for b in colours[:i]]
    assert min(gaps) > 25
