"""`deploy errors`: a table, JSON, a page, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy import Bundle, BundleManifest, write_bundle

Command = Callable[..., tuple[int, str, str]]
CATEGORIES = ({"id": 3, "name": "cat", "supercategory": "animal"}, {"id": 7, "name": "dog", "supercategory": "animal"})


@pytest.fixture
def write_data(write_image: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """COCO data of one image: its objects (category, x, y, width, height) and categories."""

    def write(*objects: tuple[int, int, int, int, int], categories: Any = CATEGORIES) -> Path:
        write_image("data/val2017/a.png", (64, 48))
        labels = tmp_path / "data" / "annotations" / "instances_val2017.json"
        labels.parent.mkdir(exist_ok=True)
        annotations = [
            {"id": number, "image_id": 1, "category_id": category, "bbox": box, "iscrowd": 0}
            for number, (category, *box) in enumerate(objects)
        ]
        image = {"id": 1, "file_name": "a.png", "width": 64, "height": 48}
        labels.write_text(json.dumps({"images": [image], "annotations": annotations, "categories": list(categories)}))
        return tmp_path / "data"

    return write


def test_it_prints_a_table_of_80_columns(deploy: Command, tiny_bundle: Bundle, write_data: Callable[..., Path]) -> None:
    """The bundle sees a dog at [8, 8, 32, 24] and a cat that fills the image; here are a wider cat and a second dog."""
    data = write_data((7, 8, 8, 24, 16), (3, 0, 0, 64, 30), (7, 40, 30, 20, 15))
    code, out, err = deploy("errors", tiny_bundle.folder, "--data", data)
    assert (code, err) == (0, "")
    first, *lines = out.splitlines()
    assert first == f"1 image of {data} (val)" and max(map(len, lines)) <= 80
    rows = {line[:22].strip(): line[22:].split() for line in lines}
    assert rows[""] == ["objects", "C75", "C50", "Loc", "Sim", "Oth", "BG", "FN"]
    assert rows["cat"] == ["1", "0.000", "1.000", "0.000", "0.000", "0.000", "0.000", "0.000"]
    assert rows["dog"] == ["2", "0.505", "0.505", "0.000", "0.000", "0.000", "0.000", "0.495"]
    assert rows["all classes"] == ["3", "0.252", "0.752", "0.000", "0.000", "0.000", "0.000", "0.248"]
    assert rows["small"][0] == "2" and rows["large"] == ["none"]
    assert "super-categories, whose classes are similar: from the data set" in lines


def test_json_has_all_of_it(deploy: Command, tiny_bundle: Bundle, write_data: Callable[..., Path]) -> None:
    data = write_data((7, 8, 8, 24, 16), (3, 0, 0, 64, 30))
    code, out, err = deploy("errors", tiny_bundle.folder, "--data", data, "--json")
    values = json.loads(out)
    assert code == 0 and values["images"] == 1 and values["unread_images"] == 0, err
    assert values["overall"]["areas"]["all"]["means"]["C50"] == pytest.approx(1)
    assert values["overall"]["areas"]["all"]["losses"] == {"Loc": 0, "Sim": 0, "Oth": 0, "BG": 0, "FN": 0}
    assert [item["name"] for item in values["classes"]] == ["cat", "dog"]
    assert [item["name"] for item in values["supercategories"]] == ["animal"]
    assert values["supercategories_from"] == "the data set"
    evaluated = json.loads(deploy("evaluate", tiny_bundle.folder, "--data", data, "--json")[1])
    assert values["overall"]["areas"]["all"]["means"]["C75"] == pytest.approx(evaluated["ap75"], abs=1e-5)


def test_out_writes_a_page_and_says_where(
    deploy: Command, tiny_bundle: Bundle, write_data: Callable[..., Path], tmp_path: Path
) -> None:
    data = write_data((7, 8, 8, 24, 16))
    code, out, err = deploy("errors", tiny_bundle.folder, "--data", data, "--out", tmp_path / "e.html", "--json")
    assert code == 0 and json.loads(out) and err == f"deploy: wrote {tmp_path / 'e.html'}\n"
    text = (tmp_path / "e.html").read_text()
    assert "<h1>Errors of tiny</h1>" in text and f"{tiny_bundle.folder}, 1 image of {data} (val)" in text


def test_data_that_names_no_super_categories_has_each_class_alone(
    deploy: Command, tiny_bundle: Bundle, tiny_model: Path, manifest: BundleManifest,
    write_data: Callable[..., Path], tmp_path: Path,
) -> None:  # fmt: skip
    plain = [{"id": item["id"], "name": item["name"], "supercategory": "none"} for item in CATEGORIES]
    data = write_data((7, 8, 8, 24, 16), categories=plain)
    _, out, _ = deploy("errors", tiny_bundle.folder, "--data", data)
    assert out.endswith("similar: from COCO's list of its classes\n")
    other = write_bundle(tmp_path / "other", tiny_model, replace(manifest, class_names=("red", "white")))
    data = write_data((7, 8, 8, 24, 16), categories=[{"id": 3, "name": "red"}, {"id": 7, "name": "white"}])
    _, out, _ = deploy("errors", other.folder, "--data", data)
    assert out.endswith("similar: each class is its own\n")


def test_nothing_detected_is_said_and_all_is_missed(
    deploy: Command, tiny_model: Path, manifest: BundleManifest, write_data: Callable[..., Path], tmp_path: Path
) -> None:
    """The model says labels 0 and 1; only label 2 is a class of the data."""
    other = write_bundle(tmp_path / "other", tiny_model, replace(manifest, class_names=("red", "white", "cat")))
    data = write_data((3, 8, 8, 24, 16), categories=CATEGORIES[:1])
    code, out, err = deploy("errors", other.folder, "--data", data)
    assert code == 0 and err == "deploy: nothing was detected, so every object counts as missed (FN)\n"
    assert out.splitlines()[2].split()[-1] == "1.000"


def test_an_image_that_cannot_be_read_is_said(
    deploy: Command, tiny_bundle: Bundle, write_data: Callable[..., Path]
) -> None:
    data = write_data((7, 8, 8, 24, 16))
    (data / "val2017" / "a.png").write_bytes(b"no picture")
    code, _, err = deploy("errors", tiny_bundle.folder, "--data", data)
    assert code == 0 and "a.png cannot be read (counted as an image without detections)" in err


def test_what_does_not_fit_is_one_line_and_exit_2(
    deploy: Command, tiny_bundle: Bundle, tiny_model: Path, write_data: Callable[..., Path], tmp_path: Path
) -> None:
    data = write_data((7, 8, 8, 24, 16))
    for arguments, words in (
        ([tiny_model, "--data", data], f"deploy adopt {tiny_model}"),
        ([tiny_bundle.folder], "--data"),
        ([tiny_bundle.folder, "--data", tmp_path / "absent"], "absent"),
        ([tiny_bundle.folder, "--data", data, "--split", "test"], "no test split"),
        ([tiny_bundle.folder, "--data", data, "--out", tmp_path], "is a folder"),
        ([tiny_bundle.folder, "--data", data, "--out", tmp_path / "no" / "e.html"], "there is no folder"),
    ):
        code, out, err = deploy("errors", *arguments)
        assert (code, out) == (2, "") and words in err and err.count("\n") == 1, err
    code, out, err = deploy("errors", tiny_bundle.folder, "--data", write_data())
    assert (code, out) == (2, "") and "no usable object" in err
    horse = write_data((7, 8, 8, 24, 16), categories=[{"id": 7, "name": "horse"}])
    code, out, err = deploy("errors", tiny_bundle.folder, "--data", horse)
    assert (code, out) == (2, "") and "horse" in err and "cat, dog" in err and err.count("\n") == 1


def test_help_teaches_the_curves_by_name(deploy: Command) -> None:
    code, out, _ = deploy("errors", "--help")
    assert code == 0 and "deploy errors runs/demo/bundles/base --data my_images --out errors.html" in out
    for name in ("C75", "C50", "Loc", "Sim", "Oth", "BG", "FN", "exit codes"):
        assert f"\n  {name}" in out or name == "exit codes" in out
