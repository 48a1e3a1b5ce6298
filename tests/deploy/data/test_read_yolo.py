"""YOLO txt: what is read, and what is reported instead of ending the reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.data import read_dataset
from deploy.errors import InputError

GOOD = "0 0.5 0.5 0.5 0.4\n"


def test_shares_of_the_image_become_pixels(yolo) -> None:
    dataset = read_dataset(yolo([GOOD + "1 0.25 0.5 0.1 0.2\n", ""]), "all")
    assert dataset.class_names == ("cat", "dog")
    np.testing.assert_allclose(dataset.records[0].boxes_xyxy, [[10, 9, 30, 21], [8, 12, 12, 18]], rtol=1e-6)
    assert dataset.records[0].labels.tolist() == [0, 1] and dataset.problems == ()


def test_an_image_without_a_label_file_has_no_objects(yolo) -> None:
    assert [len(record.labels) for record in read_dataset(yolo([GOOD, None, ""]), "all").records] == [1, 0, 0]


def test_an_outline_becomes_its_bounding_box(yolo) -> None:
    dataset = read_dataset(yolo(["1 0.1 0.2 0.5 0.1 0.3 0.6\n"]), "all")
    np.testing.assert_allclose(dataset.records[0].boxes_xyxy, [[4, 3, 20, 18]], rtol=1e-6)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 0.5 0.5 0 0.4", "zero-area box"),
        ("0 0.5 0.5 -0.1 0.4", "inverted box"),
        ("0 9 9 0.1 0.1", "box outside"),
        ("0 nan 0.5 0.5 0.4", "not a number"),
        ("2 0.5 0.5 0.5 0.4", "unknown class"),
        ("-1 0.5 0.5 0.5 0.4", "unknown class"),
        ("0.5 0.5 0.5 0.5 0.4", "unknown class"),
        ("nan 0.5 0.5 0.5 0.4", "broken line"),
        ("inf 0.5 0.5 0.5 0.4", "broken line"),
        ("0 0.5 0.5 0.5", "broken line"),
        ("0 0.5 0.5 0.5 0.5 0.9", "broken line"),
        ("cat 0.5 0.5 0.5 0.4", "broken line"),
        ("0 0.5 0.5 0.5 0.4", "duplicate box"),
    ],
)
def test_a_bad_line_is_skipped_and_reported_by_its_number(yolo, line: str, kind: str) -> None:
    dataset = read_dataset(yolo([GOOD + "\n" + line + "\n"]), "all")
    assert [(p.kind, p.object, p.action, p.file.name) for p in dataset.problems] == [(kind, 2, "skipped", "0.txt")]
    assert len(dataset.records[0].labels) == 1


def test_numbered_names_keep_their_numbers(yolo) -> None:
    folder = yolo(["5 0.5 0.5 0.5 0.4\n"], description="names: {5: cat, 0: dog}\ntrain: images/train\n")
    dataset = read_dataset(folder, "all")
    assert dataset.class_names == ("dog", "cat") and dataset.records[0].labels.tolist() == [1]


@pytest.mark.parametrize("train", ["images/train", "../images/train", "[images/train]", "{folder}/images/train"])
def test_split_paths_are_understood_as_people_write_them(yolo, tmp_path: Path, train: str) -> None:
    description = f"names: [cat, dog]\ntrain: {train.format(folder=tmp_path)}\n"
    assert len(read_dataset(yolo([GOOD, GOOD], description=description), "all").records) == 2


def test_a_list_of_images_is_read_and_what_lies_outside_is_not(yolo, tmp_path: Path, draw) -> None:
    draw(tmp_path.parent / "outside.png")
    folder = yolo([GOOD, GOOD], description="names: [cat, dog]\ntrain: train.txt\n")
    lines = ["./images/train/0.png", str(folder / "images/train/1.png"), "../outside.png", "images/train/9.png"]
    (folder / "train.txt").write_text("\n".join(lines))
    dataset = read_dataset(folder, "all")
    assert [len(record.labels) for record in dataset.records] == [1, 1]
    assert [p.kind for p in dataset.problems] == ["path outside", "missing image"]


def test_labels_are_looked_for_inside_the_data_set_even_if_it_lies_below_a_folder_called_images(
    tmp_path: Path, draw
) -> None:
    folder = tmp_path / "images" / "set"
    draw(folder / "train" / "0.png")
    (folder / "train" / "0.txt").write_text(GOOD)
    (folder / "data.yaml").write_text("names: [cat]\ntrain: train\n")
    assert len(read_dataset(folder, "all").records[0].labels) == 1


def test_a_photo_is_measured_the_way_it_is_shown(yolo) -> None:
    folder = yolo([GOOD])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(folder / "images" / "train" / "0.png", exif=exif)
    record = read_dataset(folder, "all").records[0]
    assert (record.width, record.height) == (30, 40)
    np.testing.assert_allclose(record.boxes_xyxy, [[7.5, 12, 22.5, 28]], rtol=1e-6)


def test_an_image_that_is_none_is_skipped(yolo) -> None:
    folder = yolo([GOOD, GOOD])
    (folder / "images" / "train" / "1.png").write_text("not an image")
    dataset = read_dataset(folder, "all")
    assert [p.kind for p in dataset.problems] == ["unreadable image"] and len(dataset.records) == 1


@pytest.mark.parametrize(
    "description",
    ["", "[]", "a: [", "train: images/train", "names: 3\ntrain: nowhere", "names: {a: cat}\ntrain: images/train",
     "names: [cat]", "names: [cat]\ntrain: nowhere", "names: [cat]\ntrain: ../../.."],
)  # fmt: skip
def test_a_description_that_does_not_describe_is_an_input_error(yolo, description: str) -> None:
    with pytest.raises(InputError, match=r"data\.yaml"):
        read_dataset(yolo([GOOD], description=description), "train")
