"""Keypoints and outlines are told apart by all lines together, or not guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deploy.data import read_dataset
from deploy.data.yolo_rows import OUTLINES, KeypointFinder
from deploy.errors import InputError

Lines = list[str]


def write_line(*values: np.ndarray) -> str:
    return "0 " + " ".join(f"{value:.5f}" for part in values for value in np.ravel(part))


def draw_boxes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres and sides of boxes anywhere in the image."""
    rng = np.random.default_rng(3)
    sides = rng.uniform(0.05, 0.3, (count, 2))
    return rng.uniform(sides / 2, 1 - sides / 2), sides


def poses(count: int, points: int, each: int) -> Lines:
    rng = np.random.default_rng(4)
    lines = []
    for centre, side in zip(*draw_boxes(count)):
        inside = centre + side * rng.uniform(-0.5, 0.5, (points, 2))
        inside[rng.uniform(size=points) < 0.2] = 0  # not labelled
        seen = np.where(inside[:, :1] > 0, 2, 0)
        lines.append(write_line(centre, side, np.hstack([inside, seen])[:, :each]))
    return lines


def outlines(count: int, points: int, share: float = 1.0) -> Lines:
    """Round shapes turned at random, in the upper left `share` of the image."""
    rng = np.random.default_rng(5)
    lines = []
    for centre, side in zip(*draw_boxes(count)):
        angle = rng.uniform(0, 7) + np.arange(points) * 2 * np.pi / points
        lines.append(write_line((centre + 0.5 * side * np.stack([np.cos(angle), np.sin(angle)], axis=1)) * share))
    return lines


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("points", [1, 2, 4, 17])
def test_visibilities_tell(count: int, points: int) -> None:
    finder = KeypointFinder()
    finder.look("\n".join(poses(count, points, 3)))
    finder.conclude()
    assert finder.found == (points, 3)


@pytest.mark.parametrize("points", [2, 4, 17])
def test_keypoints_without_visibilities_are_told_by_where_they_are(points: int) -> None:
    finder = KeypointFinder()
    finder.look("\n".join(poses(40, points, 2)))
    finder.conclude()
    assert finder.found == (points, 2)


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("points", [3, 4, 5, 8, 20])
def test_outlines_of_one_length_are_told(points: int, share: float) -> None:
    finder = KeypointFinder()
    finder.look("\n".join(outlines(40, points, share)))
    finder.conclude()
    assert finder.found in (OUTLINES, None), "small shapes in the upper left may be either"
    assert finder.found == OUTLINES or share < 1


def test_turned_boxes_are_outlines_and_the_whole_image_is_one() -> None:
    for line in ("0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75", "0 0 0 1 0 1 1 0 1", "0 0 0 1 0 1 1 0 1 0 0"):
        finder = KeypointFinder()
        finder.look(line)
        finder.conclude()
        assert finder.found == OUTLINES, line


def test_lines_of_two_lengths_are_outlines_at_once() -> None:
    finder = KeypointFinder()
    finder.look("\n".join([*outlines(1, 4), *outlines(1, 5)]))
    assert finder.found == OUTLINES


@pytest.mark.parametrize("line", ["", "0 .5 .5 .5 .5", "cat 1 2 3 4 5 x", "0 nan 1 1 1 1 1", "0 1e999 1 1 1 1 1"])
def test_other_lines_tell_nothing(line: str) -> None:
    finder = KeypointFinder()
    finder.look(line)
    assert finder.found is None and finder.length == 0


@pytest.mark.parametrize(("points", "each"), [(3, 3), (4, 3), (2, 2), (17, 2)])
def test_boxes_of_poses_are_read_without_kpt_shape_and_that_is_said(
    yolo: Callable[..., Path], points: int, each: int
) -> None:
    lines = poses(30, points, each)
    dataset = read_dataset(yolo(["\n".join(lines[:15]), "\n".join(lines[15:])]), "all")
    boxes = np.concatenate([record.boxes_xyxy for record in dataset.records])
    centres, sides = draw_boxes(30)
    wanted = np.hstack([centres - sides / 2, centres + sides / 2]) * [40, 30, 40, 30]
    np.testing.assert_allclose(boxes, wanted, atol=0.01)
    (problem,) = [problem for problem in dataset.problems if problem.kind == "keypoints"]
    assert f"{points} keypoints of {each} values" in problem.text and problem.action == "boxes taken"


def test_what_lines_do_not_tell_is_refused_with_what_to_write(yolo: Callable[..., Path]) -> None:
    folder = yolo(["0 .5 .5 .5 .5 .3 .3 .7 .7\n"])
    with pytest.raises(InputError, match=r"8 numbers.*kpt_shape: \[2, 2\] for keypoints.*kpt_shape: \[0, 0\]"):
        read_dataset(folder, "all")
    for stated, box in (("[2, 2]", [10, 7.5, 30, 22.5]), ("[0, 0]", [12, 9, 28, 21])):
        (folder / "data.yaml").write_text(f"names: [cat]\ntrain: images/train\nkpt_shape: {stated}\n")
        dataset = read_dataset(folder, "all")
        np.testing.assert_allclose(dataset.records[0].boxes_xyxy, [box], rtol=1e-5)
        assert not dataset.problems


def test_a_split_that_does_not_tell_follows_the_others(yolo: Callable[..., Path], draw: Callable[..., Path]) -> None:
    description = "names: [cat]\ntrain: images/train\nval: images/val\n"
    folder = yolo(["\n".join(poses(20, 2, 2))], description=description)
    draw(folder / "images" / "val" / "9.png")
    (folder / "labels" / "val").mkdir()
    (folder / "labels" / "val" / "9.txt").write_text("0 .5 .5 .5 .5 .3 .3 .7 .7\n")
    np.testing.assert_allclose(read_dataset(folder, "val").records[0].boxes_xyxy, [[10, 7.5, 30, 22.5]])
