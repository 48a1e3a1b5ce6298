"""What the benchmarks of two sides share, the list that `make bench` runs, and the page of their history."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import bench
import history
import numpy as np
import pytest
from pruning_vs_others import find_ratio, interpolate
from side_by_side import Outcome, compare, list_outcomes, time_in_turns, time_rounds

BENCHMARKS = Path(bench.__file__).parent


def test_sides_take_turns_and_each_is_timed_as_often() -> None:
    called: list[str] = []
    samples = time_in_turns({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 5, window=2, warm_up=1)
    assert {name: values.shape for name, values in samples.items()} == {"a": (5, 2), "b": (5, 2)}
    assert called[:2] == ["a", "b"] and called.count("a") == called.count("b") == 11
    assert all(values.min() >= 0 for values in samples.values())
    assert len(time_in_turns({"a": lambda: None}, 100, seconds=0)["a"]) == 1, "the round in which time is over counts"


def test_rounds_keep_the_order_and_the_first_ones_are_not_counted() -> None:
    called: list[str] = []
    seconds = time_rounds({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 3, warm_up=2)
    assert called == ["a", "b"] * 5
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_a_drift_that_both_sides_share_cancels() -> None:
    drift = np.linspace(1, 3, 12)[:, None]
    ratio, (low, high) = compare(2 * drift, drift)
    assert (ratio, low, high) == (2, 2, 2)
    mixed, (low, high) = compare(np.array([[1.0], [2], [3], [4], [5], [6], [7]]), np.ones((7, 1)))
    assert mixed == 4 and (low, high) == (1, 7), "of seven rounds the interval of the sign test is all of them"


def test_an_outcome_says_whether_it_is_what_was_wanted() -> None:
    few, many = Outcome("at most", 1.2, 1.1), Outcome("at least", 1.2, 1.1, True)
    assert (few.met, many.met, Outcome("nothing", 1.2).met) == (False, True, None)
    table = list(list_outcomes([few.to_json(), many.to_json(), Outcome("open", 0.5, ci95=(0.4, 0.6)).to_json()]))
    assert table[2] == "| at most | 1.200 |  | <= 1.1 | **no** |"
    assert table[3] == "| at least | 1.200 |  | >= 1.1 | yes |"
    assert table[4] == "| open | 0.500 | 0.400 to 0.600 |  |  |"


@pytest.mark.parametrize("job", [*bench.SHORT, *bench.LONG], ids=lambda job: f"{job.name} {job.limit_s}")
def test_what_is_run_exists_and_takes_these_options(job: bench.Job) -> None:
    source = (BENCHMARKS / f"{job.script}.py").read_text() + (BENCHMARKS / "side_by_side.py").read_text()
    for option in re.findall(r"--(?:no-)?([a-z-]+)", job.arguments):
        assert f'"--{option}"' in source, option
    assert "{json}" in job.arguments


def test_the_short_list_ends_within_twenty_minutes_by_its_limits_but_for_the_base() -> None:
    assert sum(job.limit_s for job in bench.SHORT) <= 21 * 60
    assert {job.script for job in bench.SHORT} <= {job.script for job in bench.LONG}


def test_a_script_that_fails_or_hangs_or_lacks_its_package_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "HERE", tmp_path)
    (tmp_path / "good.py").write_text(
        "import json, sys\nprint('| a table |')\n"
        "found = dict(question='q', value=2.0, wanted=1.0, more_is_better=False)\n"
        "json.dump({'outcomes': [{**found, 'met': False}]}, open(sys.argv[1], 'w'))\n"
    )
    (tmp_path / "bad.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(600)\n")
    jobs = {name: bench.Job(name, "{json}", limit) for name, limit in (("good", 60), ("bad", 60), ("slow", 0))}
    jobs["lacking"] = bench.Job("good", "{json}", 60, needs="no_such_package")
    results = {name: bench.run_job(job, tmp_path, {}) for name, job in jobs.items()}
    assert results["good"]["outcomes"][0]["value"] == 2 and "| a table |" in (tmp_path / "good.txt").read_text()
    assert "exit code 3" in results["bad"]["failed"] and "limit 0 s" in results["slow"]["failed"]
    assert "no_such_package is not installed" in results["lacking"]["left_out"]
    said = "\n".join(bench.describe(results))
    assert "| q | 2.000 |  | <= 1 | **no** |" in said and "- bad: exit code 3" in said


def test_pruning_is_compared_at_equal_latency_on_the_line_through_the_others_students() -> None:
    theirs = [{"latency": 0.5, "ap": 0.3}, {"latency": 0.7, "ap": 0.4}]
    assert interpolate(theirs, 0.55, 0.6) == pytest.approx(0.35) and interpolate(theirs, 0.55, 0.85) == pytest.approx(
        0.475
    )
    assert interpolate(theirs, 0.55, 0.4) is None, "nobody knows what they have beyond their fastest student"


def test_a_ratio_of_pruning_is_found_by_its_operations() -> None:
    assert find_ratio(0.49, lambda ratio: (1 - ratio) ** 2) == pytest.approx(0.3, abs=1e-3)


def test_history_draws_every_report_it_knows(tmp_path: Path) -> None:
    points = history.list_points([history.REPORTS])
    assert {"export-vs-torchvision", "aa-test", "latency-vs-others", "precisions"} <= {point.theme for point in points}
    assert all(re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", point.date) and point.value >= 0 for point in points)
    page = history.write_page(tmp_path / "page.html", [history.REPORTS]).read_text()
    HTMLParser().feed(page)
    assert page.count("<circle") == len(points) and "http" not in page.replace("http://www.w3.org", "")


def test_figures_of_one_question_are_one_chart_in_the_order_of_time(tmp_path: Path) -> None:
    for month, value in (("2027-01", 0.9), ("2026-12", 1.3)):
        outcome = Outcome("ours < theirs", value, 1.0).to_json()
        (tmp_path / f"thing_cpu2_{month}.json").write_text(json.dumps({"date": f"{month}-05", "outcomes": [outcome]}))
    points = history.list_points([tmp_path])
    assert [point.value for point in points] == [1.3, 0.9]
    body = history.make_body(points)
    assert body.count("<svg") == 1 and "ours &lt; theirs" in body and "wanted 1" in body
    assert (
        history.make_body([]) == ""
        and "no report yet" in history.write_page(tmp_path / "x.html", [tmp_path / "y"]).read_text()
    )
