"""What is said of a data set as a whole, and the one rule for labels of another size."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy.data import (
    check_dataset,
    find_unlabelled,
    keep_fitting,
    read_dataset,
    warn_of_problems,
    warn_of_shared,
)
from deploy.detections import Detections
from deploy.errors import InputError
from deploy.evaluate import evaluate_detections

ONE = [{"image_id": i, "bbox": [1, 1, 8, 8], "category_id": 3} for i in (1, 2, 3)]


def test_images_of_another_size_than_their_labels_are_left_out_and_said(coco, draw) -> None:
    folder = coco(ONE, split="val", count=3)
    draw(folder / "val" / "2.png", (80, 60))
    draw(folder / "val" / "3.png", (30, 40))
    dataset = keep_fitting(read_dataset(folder, "val"))
    assert [record.image_id for record in dataset.records] == [1]
    assert [(p.kind, p.action, p.file.name) for p in dataset.problems] == [
        ("wrong size", "skipped", "2.png"), ("wrong size", "skipped", "3.png"),
    ]  # fmt: skip
    assert {p.file.name for p in check_dataset(folder) if p.kind == "wrong size"} == {"2.png", "3.png"}
    assert warn_of_problems(dataset)[0].startswith("2 of 3 images: wrong size (skipped)")


def test_no_image_of_its_labels_size_is_an_input_error(coco, draw) -> None:
    folder = coco(ONE[:1], split="val", count=1)
    draw(folder / "val" / "1.png", (80, 60))
    with pytest.raises(InputError, match=r"not one of 1 images has the size.*40x30, the image is 80x60"):
        keep_fitting(read_dataset(folder, "val"))


def test_an_image_that_cannot_be_read_stays_to_be_counted_as_missed(coco) -> None:
    folder = coco(ONE, split="val", count=3)
    (folder / "val" / "2.png").write_bytes(b"")
    assert len(keep_fitting(read_dataset(folder, "val")).records) == 3


def test_more_objects_than_are_looked_at_are_warned_of(coco) -> None:
    many = [{"image_id": 1, "bbox": [i / 4, j, 2, 2], "category_id": 3} for i in range(60) for j in range(2)]
    (warning,) = warn_of_problems(read_dataset(coco(many, split="val"), "val"))
    assert warning.startswith("1 images have more than 100 objects, up to 120")


def test_unusual_levels_are_reported_by_the_check(coco) -> None:
    from PIL import Image

    folder = coco(ONE, split="val", count=3)
    Image.fromarray(np.full((30, 40), 4095, np.uint16)).save(folder / "val" / "1.png")
    assert [(p.kind, p.action) for p in check_dataset(folder)] == [("unusual levels", "scaled")]


def test_the_check_tells_how_far_it_is(coco) -> None:
    said: list[str] = []
    check_dataset(coco(ONE, count=3), said.append)
    assert said == ["image 1 of 3", "image 2 of 3", "image 3 of 3"]


def test_a_difficult_object_is_neither_found_nor_missed(tmp_path: Path, draw) -> None:
    boxes = {"easy": (1, 1, 9, 9), "hard": (20, 10, 30, 20)}
    items = "".join(
        f"<object><name>cat</name><difficult>{int(name == 'hard')}</difficult><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, (a, b, c, d) in boxes.items()
    )
    draw(tmp_path / "JPEGImages" / "a.png")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(f"<annotation><filename>a.png</filename>{items}</annotation>")
    dataset = read_dataset(tmp_path, "all")
    assert len(dataset.records[0].labels) == 2 and dataset.count_objects() == 1
    assert [(p.kind, p.action) for p in dataset.problems] == [("difficult", "trained on, not counted by AP")]

    def precision(*found: tuple[int, ...]) -> float:
        scores = np.linspace(0.9, 0.5, len(found), dtype=np.float32)
        answer = Detections(np.array(found, np.float32), scores, np.zeros(len(found), np.int64))
        return evaluate_detections(dataset, [(dataset.records[0].image_id, answer)]).ap

    assert precision(boxes["easy"]) == precision(boxes["hard"], boxes["easy"]) == pytest.approx(1)
    inside = (22, 12, 24, 14)  # a crowd would take it; a difficult object is like any other
    assert precision(inside, boxes["easy"]) == pytest.approx(0.5)


def test_more_detections_count_where_that_is_asked_for(coco) -> None:
    many = [{"image_id": 1, "bbox": [i / 4, 10 * j, 2, 2], "category_id": 3} for i in range(60) for j in range(2)]
    dataset = read_dataset(coco(many, split="val", count=1), "val")
    (record,) = dataset.records
    found = Detections(record.boxes_xyxy, np.linspace(0.9, 0.5, 120, dtype=np.float32), record.labels)
    assert evaluate_detections(dataset, [(1, found)]).ap == pytest.approx(0.83, abs=0.01)
    assert evaluate_detections(dataset, [(1, found)], max_detections=120).ap == pytest.approx(1)


def test_twenty_thousand_boxes_of_an_image_take_no_time(tmp_path: Path, coco) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, (30, 20), (20_000, 2)).round(3).tolist()
    many = [{"image_id": 1, "bbox": [x, y, 5, 5], "category_id": 3} for x, y in corners]
    stacked = [{"image_id": 2, "bbox": [1, y, 5, 5], "category_id": 3} for _, y in corners]
    folder = coco([*many, *stacked], split="val")
    started = time.process_time()
    dataset = read_dataset(folder, "val")
    assert time.process_time() - started < 8, "quadratic work on the same takes minutes"
    assert dataset.count_objects() > 30_000
    assert any(problem.kind == "doubled box" for problem in dataset.problems)


@pytest.mark.parametrize("value", ["0", "false", 0, False, None, ""])
def test_a_crowd_is_one_only_where_it_is_said(coco, value: object) -> None:
    assert not read_dataset(coco([{**ONE[0], "iscrowd": value}], split="val"), "val").records[0].crowd.any()


def test_a_crowd_as_text_is_one(coco) -> None:
    dataset = read_dataset(coco([*ONE[:1], {**ONE[1], "iscrowd": "1"}], split="val"), "val")
    assert dataset.records[1].crowd.tolist() == [True]


def test_boxes_as_text_are_numbers(coco) -> None:
    folder = coco([{"image_id": 1, "bbox": ["1", "2.5", 3, "4e0"], "category_id": 3}], split="val")
    assert read_dataset(folder, "val").records[0].boxes_xyxy.tolist() == [[1, 2.5, 4, 6.5]]


def test_sections_may_come_in_any_order(coco) -> None:
    folder = coco(ONE[:2], split="val")
    path = folder / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: content[key] for key in ("annotations", "categories", "images")}))
    assert read_dataset(folder, "val").count_objects() == 2


def test_objects_that_are_lost_in_great_numbers_are_warned_of(yolo) -> None:
    dataset = read_dataset(yolo(["0 .5 .5 .5 .5\n"] * 3 + ["0,.5,.5,.5,.5\n", "7 .5 .5 .5 .5\n"]), "all")
    assert [line.partition(" (")[0] for line in warn_of_problems(dataset)] == [
        "1 of 5 objects: broken line", "1 of 5 objects: unknown class",
    ]  # fmt: skip


def test_boxes_that_mostly_leave_their_image_are_warned_of(yolo) -> None:
    corners = "0 0.25 0.25 0.75 0.75\n"  # as other formats have them
    (warning,) = warn_of_problems(read_dataset(yolo([corners, corners, "0 .5 .5 .5 .5\n"]), "all"))
    assert warning.startswith("2 of 3 objects: box over the edge (clipped)")


def test_images_that_are_trained_and_validated_on_are_warned_of(yolo) -> None:
    folder = yolo(["0 .5 .5 .5 .5\n"] * 4, description="names: [cat]\ntrain: images/train\nval: images\n")
    train, val = read_dataset(folder, "train"), read_dataset(folder, "val")
    (warning,) = warn_of_shared(train, val)
    assert warning.startswith("4 of 4 validation images are trained on, too")
    assert warn_of_shared(train.first(1), val.first(0)) == []


def test_images_without_labels_are_said_to_a_run_as_well(voc, draw) -> None:
    folder = voc("a", [("cat", 1, 1, 9, 9)])
    for number in range(3):
        draw(folder / "JPEGImages" / f"new{number}.png")
    dataset = read_dataset(folder, "all")
    (problem,) = find_unlabelled(folder, dataset, dataset)
    assert problem.count == 3
    (warning,) = warn_of_problems(replace(dataset, problems=(problem,)))
    assert warning.startswith("3 of 4 images: not in the labels (not taken)")


def test_boxes_in_shares_of_the_image_are_warned_of(coco) -> None:
    shares = [{**one, "bbox": [0.25, 0.25, 0.5, 0.5]} for one in ONE]
    (warning,) = warn_of_problems(read_dataset(coco(shares, split="val", count=3), "val"))
    assert warning.startswith("3 of 3 images: all boxes lie within their first pixel") and "shares" in warning


def test_a_folder_of_masks_is_listed_without_a_warning(yolo, draw) -> None:
    folder = yolo(["0 .5 .5 .5 .5\n"])
    draw(folder / "masks" / "0.png")
    dataset = read_dataset(folder, "all")
    (problem,) = find_unlabelled(folder, dataset, dataset)
    assert problem.kind == "folder without labels"
    assert warn_of_problems(replace(dataset, problems=(problem,))) == []


def test_an_image_that_is_listed_twice_is_said(coco) -> None:
    again = {"id": 9, "file_name": "1.png", "width": 40, "height": 30}
    dataset = read_dataset(coco(ONE[:2], images=[again], split="val"), "val")
    (problem,) = dataset.problems
    assert problem.kind == "image twice" and "as 1 and 9 of" in problem.text
    assert warn_of_problems(dataset)[0].startswith("1 of 3 images: image twice (taken twice)")


def test_two_label_files_of_one_image_are_said(voc) -> None:
    folder = voc("a", [("cat", 1, 1, 9, 9)])
    (folder / "Annotations" / "old").mkdir()
    (folder / "Annotations" / "old" / "a.xml").write_bytes((folder / "Annotations" / "a.xml").read_bytes())
    (problem,) = read_dataset(folder, "all").problems
    assert problem.kind == "image twice" and "Annotations/a.xml" in problem.text and "old/a.xml" in problem.text
