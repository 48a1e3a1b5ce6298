"""The page of an error analysis is one file, runs its own script alone, and shows what names it is given."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deploy.bundles.archive import write_archive
from deploy.data.records import Dataset, Record
from deploy.detections import Detections
from deploy.error_analysis import CURVES, ErrorAnalysis, analyse_errors, write_page
from deploy.errors import OutputError

BOXES = np.array([[0, 0, 50, 50], [60, 0, 110, 50]], np.float32)
ODD = "</script><b>{{data}}&"


@pytest.fixture
def analysis() -> ErrorAnalysis:
    image = Record(1, Path("a.png"), 200, 200, BOXES, np.array([0, 1]), np.zeros(2, bool))
    dataset = Dataset(("cat", ODD), (image,), (), supercategories=("animal", "animal"))
    return analyse_errors(dataset, [(1, Detections(BOXES, np.array([0.9, 0.8], np.float32), np.array([1, 1])))])


def read_data(text: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    values = json.loads(found[1])
    assert isinstance(values, dict)
    return values


def test_it_fetches_nothing_and_runs_the_one_script_that_its_policy_names(
    analysis: ErrorAnalysis, tmp_path: Path
) -> None:
    write_page(tmp_path / "errors.html", analysis, "Errors of tiny", "2 images")
    text = (tmp_path / "errors.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy and f"script-src 'sha256-{digest}';" in policy[1] and "default-src 'none'" in policy[1]
    assert set(re.findall(r"https?://[^\s\"']*", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"<link|@import|url\(| src=", text) and "{{" not in text.replace("{{data}}&", "")


def test_names_are_data_and_never_markup(analysis: ErrorAnalysis, tmp_path: Path) -> None:
    write_page(tmp_path / "errors.html", analysis, ODD, ODD)
    text = (tmp_path / "errors.html").read_text()
    assert "<b>" not in text and "<title>&lt;/script&gt;&lt;b&gt;{{data}}&amp;</title>" in text
    units = read_data(text)["units"]
    assert isinstance(units, list) and units[-1]["name"] == ODD


def test_it_holds_every_class_super_category_and_size(analysis: ErrorAnalysis, tmp_path: Path) -> None:
    write_page(tmp_path / "errors.html", analysis, "Errors of tiny", "2 images")
    data = read_data((tmp_path / "errors.html").read_text())
    assert [name for name, _ in data["curves"]] == list(CURVES)  # type: ignore[attr-defined]
    everything, animal, cat, odd = data["units"]  # type: ignore[misc]
    assert [unit["kind"] for unit in (everything, animal, cat, odd)] == ["all", "supercategory", "class", "class"]
    of_all, small, medium, large = odd["areas"]
    assert small is None and large is None and of_all == medium
    assert of_all["objects"] == 1 and [curve[0] for curve in of_all["points"]] == [
        500,
        500,
        500,
        1000,
        1000,
        1000,
        1000,
    ]
    assert {len(curve) for curve in of_all["points"]} == {101}
    assert of_all["means"] == pytest.approx([0.5, 0.5, 0.5, 1, 1, 1, 1])


def test_a_page_that_cannot_be_written_is_an_error_of_the_output(analysis: ErrorAnalysis, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"nowhere/errors\.html"):
        write_page(tmp_path / "nowhere" / "errors.html", analysis, "", "")


def test_a_boards_archive_has_what_the_page_is_made_of(tmp_path: Path) -> None:
    write_archive(tmp_path / "detect.pyz")
    code = (
        "import pkgutil, deploy; assert '.pyz' in deploy.__file__; "
        "print(*(len(pkgutil.get_data('deploy.error_analysis', name)) for name in ('page.html', 'page.js')))"
    )
    environment = {"PYTHONPATH": str(tmp_path / "detect.pyz")}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(int(length) > 1000 for length in result.stdout.split())
