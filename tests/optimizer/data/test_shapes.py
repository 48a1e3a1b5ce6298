"""The generated data set."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from deploy.data import check_dataset, read_dataset
from optimizer.data.shapes import CLASS_NAMES, draw_image, draw_shape, write_shapes
from optimizer.errors import InputError


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write(folder: Path, seed: int = 1) -> Path:
    return write_shapes(folder, train=6, val=3, size=(64, 48), seed=seed)


def test_equal_arguments_give_equal_files(tmp_path: Path) -> None:
    assert digest(write(tmp_path / "a")) == digest(write(tmp_path / "b"))
    assert digest(tmp_path / "a") != digest(write(tmp_path / "c", seed=2))


def test_it_is_read_as_a_data_set_without_a_problem(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    assert check_dataset(folder) == []
    train, val = read_dataset(folder, "train"), read_dataset(folder, "val")
    assert (len(train.records), len(val.records)) == (6, 3) and train.class_names == CLASS_NAMES
    assert all((record.width, record.height) == (64, 48) for record in train.records)


def test_a_whole_data_set_is_used_again(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    before = (folder / "train" / "00000.png").stat().st_mtime_ns
    write(folder)
    assert (folder / "train" / "00000.png").stat().st_mtime_ns == before


def test_what_an_interrupted_writing_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".a.0123.part" / "train").mkdir(parents=True)
    (tmp_path / ".a.0123.part" / "train" / "99999.png").write_text("half")
    folder = write(tmp_path / "a")
    assert not (tmp_path / ".a.0123.part").exists() and not (folder / "train" / "99999.png").exists()


def test_other_arguments_write_it_anew(tmp_path: Path) -> None:
    folder = write(write(tmp_path / "a"), seed=2)
    assert digest(folder) == digest(write(tmp_path / "b", seed=2))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="something else"):
        write(tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    assert (write(tmp_path) / "shapes.json").is_file()


def test_a_size_too_small_to_draw_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="64x8"):
        write_shapes(tmp_path, train=1, val=1, size=(64, 8), seed=0)


def test_there_are_small_large_overlapping_and_no_objects_and_boxes_fit_tightly() -> None:
    drawn = [draw_image(np.random.default_rng(seed), (96, 64)) for seed in range(120)]
    sides = [box[2] - box[0] for _, objects in drawn for _, box in objects]
    assert min(sides) <= 10 and max(sides) >= 30
    assert any(not objects for _, objects in drawn)
    assert {label for _, objects in drawn for label, _ in objects} == set(range(len(CLASS_NAMES)))
    assert all(0 <= x1 < x2 <= 96 and 0 <= y1 < y2 <= 64 for _, objects in drawn for _, (x1, y1, x2, y2) in objects)
    pairs = [(a, b) for _, objects in drawn for _, a in objects for _, b in objects if a != b]
    assert any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for a, b in pairs)


def test_every_form_touches_all_four_sides_of_its_box() -> None:
    for name in CLASS_NAMES:
        canvas = Image.new("RGB", (40, 40))
        draw_shape(ImageDraw.Draw(canvas), name, (7, 9, 28, 30), (255, 255, 255))
        rows, columns = np.nonzero(np.asarray(canvas).any(axis=2))
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (7, 9, 28, 30), name
