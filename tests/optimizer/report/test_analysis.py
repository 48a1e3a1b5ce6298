"""What `optimize analyse` left beside a run, on its page."""

from __future__ import annotations

import io
import json
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
