"""What `optimize analyse` left beside a run, on its page."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from optimizer.report.analysis import Analysed, draw_distances, draw_losses, has_distances, read_analysis

LOSSES = {"Loc": 0.1, "Sim": 0.02, "Oth": 0.0, "BG": 0.05, "FN": 0.13}


def make_model(**more: Any) -> dict[str, Any]:
    return {"errors": {"overall": {"areas": {"all": {"losses": LOSSES}}}}, **more}


def write(run: Path, **models: dict[str, Any]) -> Path:
    (run / "analysis").mkdir()
    content = {"images": 20, "teacher": "the base", "models": models}
    (run / "analysis" / "analysis.json").write_text(json.dumps(content))
    return run


def test_an_analysis_is_read_and_drawn(tmp_path: Path) -> None:
    student = make_model(
        distances={"objects": [0.3, 0.5], "background": [0.1, 0.2]},
        gradients=[{"image": "a.jpg", "file": "gradient-student-001-1.png", "objects_over_background": 4.04}],
    )
    run = write(tmp_path, **{"base": make_model(), "student-001": student})
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    (run / "analysis" / "gradient-student-001-1.png").write_bytes(picture.getvalue())
    analysed = read_analysis(run)
    assert analysed is not None and has_distances(analysed)
    assert analysed.pictures == [("student-001: a.jpg, 4.0 times as strong in objects", picture.getvalue())]
    losses, distances = draw_losses(analysed), draw_distances(analysed)
    assert "0.13" in losses and "missed" in losses and "student-001" in losses
    assert "student-001, objects (mean 0.400)" in distances and "base, objects" not in distances


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"images": "many", "teacher": null, "models": {}}', '{"images": 1}'])
def test_what_is_no_analysis_is_left_aside(tmp_path: Path, text: str) -> None:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "analysis.json").write_text(text)
    assert read_analysis(tmp_path) is None


def test_a_picture_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    item = {"image": "a.jpg", "file": "../secret.png", "objects_over_background": None}
    analysed = Analysed(1, None, {"student-001": make_model(gradients=[item])}, tmp_path / "analysis")
    assert analysed.pictures == []


@pytest.mark.parametrize(
    "model",
    [
        [], None, {}, {"errors": []}, {"errors": {"overall": {"areas": {"all": {"losses": {"Loc": "much"}}}}}},
        {"errors": {"overall": {"areas": {"all": {"losses": [1]}}}}}, make_model(distances=[1]),
        make_model(distances={"objects": []}), make_model(distances={"objects": [], "background": []}),
        make_model(distances={"objects": ["far"], "background": [1]}), make_model(gradients={"a": 1}),
        make_model(gradients=[{"image": 3, "file": "a", "objects_over_background": None}]),
        make_model(gradients=[{"image": "a", "objects_over_background": None}]),
        make_model(gradients=[{"image": "a", "file": "a", "objects_over_background": "x"}]),
    ],
)  # fmt: skip
def test_an_analysis_of_somebody_else_that_cannot_be_drawn_is_left_aside(tmp_path: Path, model: Any) -> None:
    assert read_analysis(write(tmp_path, base=model)) is None


@pytest.mark.parametrize("name", ["", "a/b", "<b>", "a b", "\x1b"])
def test_a_model_is_named_by_what_leads_to_its_page_alone(tmp_path: Path, name: str) -> None:
    assert read_analysis(write(tmp_path, **{name: make_model()})) is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize("name", ["analysis.json", "a.png"])
def test_nothing_but_plain_files_is_read(tmp_path: Path, kind: str, name: str) -> None:
    item = {"image": "a.jpg", "file": "a.png", "objects_over_background": None}
    path = write(tmp_path, base=make_model(gradients=[item])) / "analysis" / name
    (tmp_path / "secret").write_bytes(path.read_bytes() if path.exists() else b"secret")
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(tmp_path / "secret")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    analysed = read_analysis(tmp_path)
    assert analysed is None if name == "analysis.json" else analysed is not None and analysed.pictures == []
