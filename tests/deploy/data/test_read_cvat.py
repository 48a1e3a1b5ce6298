"""CVAT's XML: the box round each shape, and what has none is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deploy.data import read_dataset
from deploy.errors import InputError

BOX = '<box label="cat" xtl="10" ytl="9" xbr="30" ybr="21"/>'


@pytest.fixture
def cvat(tmp_path: Path, draw: Callable[..., Path]) -> Callable[[str], Path]:
    """Writes a task of one image of 40x30 with these shapes."""

    def write(shapes: str) -> Path:
        draw(tmp_path / "images" / "a.png")
        image = f'<image id="0" name="a.png" width="40" height="30">{shapes}</image>'
        (tmp_path / "annotations.xml").write_text(f"<annotations>{image}</annotations>")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        (BOX, [10, 9, 30, 21]),
        ('<box label="cat" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90"/>', [15, 5, 25, 25]),
        ('<polygon label="cat" points="10.0,9.0;30,9;30.0,21.0;12,15"/>', [10, 9, 30, 21]),
        ('<ellipse label="cat" cx="20" cy="15" rx="10" ry="6"/>', [10, 9, 30, 21]),
        ('<mask label="cat" left="10" top="9" width="20" height="12" rle="3, 4"/>', [10, 9, 30, 21]),
    ],
)
def test_the_box_round_a_shape_is_taken(cvat: Callable[[str], Path], shape: str, box: list[float]) -> None:
    dataset = read_dataset(cvat(shape), "all")
    np.testing.assert_allclose(dataset.records[0].boxes_xyxy, [box], atol=1e-4)
    assert not dataset.problems


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ('<polyline label="cat" points="1,1;2,2"/>', "not a box"),
        ('<points label="cat" points="1,1"/>', "not a box"),
        ('<skeleton label="cat"><points label="1" points="1,1"/></skeleton>', "not a box"),
        ('<polygon label="cat" points="1,1;2"/>', "not a number"),
        ('<polygon label="cat"/>', "not a number"),
        ('<box label="cat" xtl="1" ytl="1" xbr="2" ybr="2" rotation="inf"/>', "not a number"),
        ('<ellipse label="cat" cx="20"/>', "not a number"),
    ],
)
def test_a_shape_without_a_box_is_said_and_no_background(cvat: Callable[[str], Path], shape: str, kind: str) -> None:
    dataset = read_dataset(cvat(BOX + shape), "all")
    assert [(p.kind, p.object, p.action) for p in dataset.problems] == [(kind, 1, "skipped")]
    assert len(dataset.records[0].labels) == 1


@pytest.mark.parametrize(("content", "said"), [('<track id="0" label="cat"/>', "tracks of a video"), ("", "no image")])
def test_what_lists_no_image_is_refused_with_what_to_export(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "annotations.xml").write_text(f"<annotations>{content}</annotations>")
    with pytest.raises(InputError, match=rf'{said}: export it as "CVAT for images"'):
        read_dataset(tmp_path, "all")
