"""A run's front in a notebook: still what `front.json` holds, shown as a chart and a table, students as detectors."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from deploy.errors import InputError as BadBundle
from optimizer import Front, open_front
from optimizer.errors import InputError


def entry(name: str, ap: float, ratio: float, bundle: str | None = None, timed: bool = True) -> dict[str, Any]:
    return {
        "name": name, "ap": ap, "ap50": 2 * ap, "macs": 3_000_000_000, "params": 12_345_678, "precision": "fp32",
        "latency_ms": {"cpu": {"median": 90.0}} if timed else {}, "latency_of_base_over_own": ratio, "bundle": bundle,
        "bundle_refused": "the parity gate",
    }  # fmt: skip


CONTENT = {"base": entry("base", 0.4, 1.0), "students": [entry("<b>one</b>", 0.3, 3.0), entry("two", 0.35, 1.5)]}


def test_a_front_is_what_its_file_holds(tmp_path: Path) -> None:
    (tmp_path / "front.json").write_text(json.dumps(CONTENT))
    front = open_front(tmp_path)
    assert front == CONTENT and json.loads(json.dumps(front)) == CONTENT
    assert [front.find_cost(student) for student in front["students"]] == [30.0, 60.0]


def test_a_folder_without_a_front_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"front\.json"):
        open_front(tmp_path)


def test_the_chart_has_a_point_for_each_and_orders_them_by_cost_and_ap(tmp_path: Path) -> None:
    chart = ElementTree.fromstring(Front(CONTENT, tmp_path).plot())
    points = {circle[0].text.split(":")[0]: circle for circle in chart.iter("circle") if circle[0].text}
    assert list(points) == ["base", "<b>one</b>", "two"]
    x, y = ({name: float(circle.get(key, "")) for name, circle in points.items()} for key in ("cx", "cy"))
    assert x["<b>one</b>"] < x["two"] < x["base"] and y["base"] < y["two"] < y["<b>one</b>"], "down is less AP"


def test_names_are_text_and_costs_are_operations_where_nothing_was_timed(tmp_path: Path) -> None:
    untimed = {"base": entry("base", 0.4, 1.0, timed=False), "students": [entry("<b>one</b>", 0.3, 3.0, timed=False)]}
    shown = Front(untimed, tmp_path)._repr_html_()
    HTMLParser().feed(shown)
    assert "<b>" not in shown and "&lt;b&gt;one" in shown and "GMAC" in shown and "12,345,678" in shown


def test_costs_are_millijoules_where_energy_is_scored_and_of_the_first_target_where_there_are_several(
    tmp_path: Path,
) -> None:
    students = [entry("one", 0.3, 3.0)]
    base = {
        **entry("base", 0.4, 1.0),
        "energy_mj": 300.0,
        "latency_ms": {"cpu": {"median": 90.0}, "b": {"median": 5.0}},
    }
    by_energy = Front({"cost": "energy", "base": base, "students": students}, tmp_path)
    assert by_energy.find_cost(by_energy["students"][0]) == 100.0 and "mJ" in by_energy._repr_html_()
    by_latency = Front({"cost": "latency", "base": base, "students": students}, tmp_path)
    assert by_latency.find_cost(by_latency["students"][0]) == 30.0


def test_a_front_of_nothing_is_shown_too(tmp_path: Path) -> None:
    assert Front({"base": None, "students": []}, tmp_path)._repr_html_() == "<p>no student yet</p>"


def test_a_student_without_a_bundle_says_why_and_one_with_it_opens_that(tmp_path: Path) -> None:
    front = Front({"base": entry("base", 0.4, 1.0), "students": [entry("s", 0.3, 2.0, "bundles/s")]}, tmp_path)
    with pytest.raises(InputError, match="base: the parity gate"):
        front["base"].detector()
    with pytest.raises(BadBundle, match=str(tmp_path / "bundles" / "s")):  # there is none, and it was looked for there
        front["students"][0].detector()


def test_a_data_frame_has_a_row_for_each(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = Front(CONTENT, tmp_path).to_pandas()
    assert list(frame["name"]) == ["base", "<b>one</b>", "two"] and list(frame["ms"]) == [90.0, 30.0, 60.0]
