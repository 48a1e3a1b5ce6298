"""Pascal VOC XML: what is read, and what is reported instead of ending the reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deploy.data import read_dataset
from deploy.errors import InputError


def list_split(folder: Path, split: str, *stems: str) -> None:
    (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))


def test_classes_are_the_sorted_names_of_all_splits(voc) -> None:
    voc("a", [("dog", 1, 2, 11, 22)])
    folder = voc("b", [("cat", 0, 0, 5, 5)])
    list_split(folder, "train", "a")
    list_split(folder, "val", "b")
    train, val = read_dataset(folder, "train"), read_dataset(folder, "val")
    assert train.class_names == val.class_names == ("cat", "dog")
    assert train.records[0].labels.tolist() == [1] and val.records[0].labels.tolist() == [0]
    np.testing.assert_array_equal(train.records[0].boxes_xyxy, np.array([[1, 2, 11, 22]], np.float32))


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (("dog", 5, 5, 5, 9), "zero-area box"),
        (("dog", 9, 5, 5, 9), "inverted box"),
        (("dog", 50, 5, 60, 9), "box outside"),
        (("dog", "nan", 5, 60, 9), "not a number"),
        (("dog", "five", 5, 60, 9), "not a number"),
        (("dog", "", 5, 60, 9), "not a number"),
        (("", 5, 5, 6, 9), "unknown class"),
        (("dog", 1, 1, 9, 9), "duplicate box"),
    ],
)
def test_a_bad_object_is_skipped_and_reported_by_its_number(voc, item: tuple[object, ...], kind: str) -> None:
    folder = voc("a", [("dog", 1, 1, 9, 9), item])
    dataset = read_dataset(folder, "all")
    assert [(p.kind, p.object, p.action, p.file.name) for p in dataset.problems] == [(kind, 1, "skipped", "a.xml")]
    assert len(dataset.records[0].labels) == 1


def test_broken_xml_and_labels_that_are_not_there_are_skipped(voc) -> None:
    folder = voc("a", [("dog", 1, 1, 9, 9)])
    (folder / "Annotations" / "b.xml").write_text("<annotation><object>")
    (folder / "Annotations" / "c.xml").write_bytes(b"\xff\xfe\x00")
    (folder / "Annotations" / "d.xml").write_text('<?xml version="1.0" encoding="no-such"?><annotation/>')
    list_split(folder, "train", "a", "b", "c", "d", "absent", "../../etc/passwd")
    list_split(folder, "val", "a")
    dataset = read_dataset(folder, "train")
    assert [record.path.stem for record in dataset.records] == ["a"]
    assert [p.kind for p in dataset.problems] == ["broken labels"] * 3 + ["missing labels"] * 2


def test_a_stated_path_outside_is_reported_and_the_image_found_by_the_label_files_name(voc) -> None:
    dataset = read_dataset(voc("a", [("dog", 1, 1, 9, 9)], filename="../../../etc/passwd"), "all")
    assert [p.kind for p in dataset.problems] == ["path outside"]
    assert dataset.records[0].path.name == "a.png"


@pytest.mark.parametrize("size", ["0x0", "x", "lotsxmany"])
def test_a_size_that_is_not_stated_is_read_from_the_image(voc, size: str) -> None:
    record = read_dataset(voc("a", [("dog", 1, 1, 90, 9)], size=size), "all").records[0]
    assert (record.width, record.height) == (40, 30) and record.boxes_xyxy[0, 2] == 40


def test_a_missing_image_is_skipped(voc) -> None:
    voc("b", [("dog", 1, 1, 9, 9)])
    folder = voc("a", [("dog", 1, 1, 9, 9)])
    (folder / "JPEGImages" / "a.png").unlink()
    dataset = read_dataset(folder, "all")
    assert [(p.kind, p.file.stem) for p in dataset.problems] == [("missing image", "a")] and len(dataset.records) == 1


def test_annotations_that_name_nothing_are_an_input_error(voc) -> None:
    with pytest.raises(InputError, match="Pascal VOC"):
        read_dataset(voc("a", []), "train")


@pytest.mark.parametrize(
    ("inner", "box"),
    [
        ("<polygon><x1>5</x1><y1>4</y1><x2>30</x2><y2>4</y2><x3>30</x3><y3>20</y3></polygon>", [5, 4, 30, 20]),
        ("<polygon><pt><x>5</x><y>4</y></pt><pt><x>30</x><y>20</y></pt></polygon>", [5, 4, 30, 20]),
        ("<robndbox><cx>20</cx><cy>15</cy><w>10</w><h>4</h><angle>1.5707963</angle></robndbox>", [18, 10, 22, 20]),
    ],
)
def test_an_object_without_a_box_has_that_round_its_outline(voc, inner: str, box: list[float]) -> None:
    folder = voc("a", [])
    text = f"<annotation><object><name>cat</name>{inner}</object></annotation>"
    (folder / "Annotations" / "a.xml").write_text(text)
    dataset = read_dataset(folder, "all")
    np.testing.assert_allclose(dataset.records[0].boxes_xyxy, [box], atol=1e-4)
    assert not dataset.problems


@pytest.mark.parametrize(
    "inner", ["", "<polygon/>", "<polygon><x1>5</x1></polygon>", "<robndbox><cx>1</cx></robndbox>"]
)
def test_an_object_without_box_and_outline_is_skipped(voc, inner: str) -> None:
    folder = voc("a", [("dog", 1, 1, 9, 9)])
    (folder / "Annotations" / "b.xml").write_text(f"<annotation><object><name>cat</name>{inner}</object></annotation>")
    (folder / "JPEGImages" / "b.png").write_bytes((folder / "JPEGImages" / "a.png").read_bytes())
    assert [(p.kind, p.file.name) for p in read_dataset(folder, "all").problems] == [("not a number", "b.xml")]


def test_two_years_are_used_together(tmp_path: Path, draw) -> None:
    for year, stems in (("VOC2007", "ab"), ("VOC2012", "ac")):
        for stem in stems:
            draw(tmp_path / year / "JPEGImages" / f"{stem}.png")
            text = f"<annotation><object><name>{year}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9"
            (tmp_path / year / "Annotations").mkdir(exist_ok=True)
            (tmp_path / year / "Annotations" / f"{stem}.xml").write_text(
                text + "</ymax></bndbox></object></annotation>"
            )
        list_split(tmp_path / year, "train", stems[0])
        list_split(tmp_path / year, "val", stems[1])
    train, val = read_dataset(tmp_path, "train"), read_dataset(tmp_path, "val")
    assert train.layout == "Pascal VOC (VOC2007, VOC2012)"
    assert [str(r.path.relative_to(tmp_path)) for r in train.records] == [
        "VOC2007/JPEGImages/a.png", "VOC2012/JPEGImages/a.png",
    ]  # fmt: skip
    assert [r.path.name for r in val.records] == ["b.png", "c.png"]
    assert [r.labels.tolist() for r in train.records] == [[0], [1]]
