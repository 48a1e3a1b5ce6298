"""The path filter in the report: how well it ranked, and what it left in each bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawn import read_traces
from made_trials import make_done

from optimizer.errors import InputError
from optimizer.handover.front import make_front
from optimizer.handover.state import HandOverState
from optimizer.report.filtered import Filtered, draw_operations
from optimizer.report.page import ReportData, write_report

SHARES = {"accuracy": 0.8, "precision": 0.6, "recall": None, "tau": -0.1}
KEPT: dict[str, Any] = {
    "agreement": {"after the warm-up": SHARES, "at the end": {**SHARES, "recall": 0.5, "tau": 0.7}},
    "paths": 40, "by": "operations of the body", "ends": [0.6, 1.0],
    "slots": [["D1", "depth", [0, 1, 2]], ["W1", "width", [0.65, 1.0]], ["E1.1", "expand", [0.2, 0.35]]],
    "allowed": [[[1, 1, 0], [1, 0], [1, 1]], [[0, 1, 1], [1, 1], [0, 1]]],
}  # fmt: skip


def test_every_choice_is_a_square_in_every_bucket_and_grey_where_it_is_barred() -> None:
    traces = read_traces(draw_operations(Filtered.from_json(KEPT)))
    assert [trace["name"] for trace in traces] == ["depth D", "width W", "inner width E"]
    squares: dict[str, bool] = {}
    for trace in traces:
        colours = trace["marker"]["color"]
        assert len(set(colours)) == 2, "its own, and grey"
        grey = "#e6e9ee"
        squares |= {text: colour != grey for text, colour in zip(trace["text"], colours, strict=True)}
    assert len(squares) == 2 * (3 + 2 + 2)
    assert {text for text, left in squares.items() if not left} == {
        "D1 = 2 in bucket 1: barred", "W1 = 1 in bucket 1: barred", "D1 = 0 in bucket 2: barred",
        "E1.1 = 0.2 in bucket 2: barred",
    }  # fmt: skip
    assert squares["D1 = 2 in bucket 2: trained"] and squares["W1 = 0.65 in bucket 1: trained"]


def test_buckets_are_one_above_the_other_and_say_what_is_left() -> None:
    filtered = Filtered.from_json(KEPT)
    assert filtered.left == [5 / 7, 5 / 7]
    assert "up to 60%\\u003cbr\\u003e71% left" in draw_operations(filtered)
    (depths, *_) = read_traces(draw_operations(filtered))
    assert depths["x"] == [0] * 6 and depths["y"] == [0, 1, 2, 4, 5, 6]


def test_whether_the_filter_was_pre_trained_is_known() -> None:
    """Earlier runs kept nothing of it, and theirs were not."""
    assert Filtered.from_json(KEPT).classified == 0
    assert Filtered.from_json({**KEPT, "classified": 40}).classified == 40
    with pytest.raises(InputError, match="damaged"):
        Filtered.from_json({**KEPT, "classified": -1})


@pytest.mark.parametrize("classified", [0, 40])
def test_the_page_says_whether_the_filter_was_pre_trained_and_how_well_it_then_ranked(
    classified: int, tmp_path: Path
) -> None:
    agreement = {"before the warm-up, on classification": {**SHARES, "tau": 0.61}} if classified else {}
    kept = {**KEPT, "classified": classified, "agreement": {**agreement, **KEPT["agreement"]}}
    base = make_done(
        latency={
            "target": "cpu",
            "median_ms": 20.5,
            "ci95_ms": [20.1, 20.9],
            "p90_ms": 22.0,
            "p99_ms": 24.0,
            "flags": [],
        }
    )
    data = ReportData(
        "ofa", "running", False, {}, {}, [base], 1, "1 min", make_front([base], HandOverState()),
        filtered=Filtered.from_json(kept),
    )  # fmt: skip
    write_report(tmp_path / "report.html", data)
    page = (tmp_path / "report.html").read_text()
    row = "<td>before the warm-up, on classification</td><td>0.80</td><td>0.60</td><td>-</td><td>0.61</td>"
    assert (row in page) is ("it learnt from 40 of them" in page) is bool(classified)
    assert ("The filter was not pre-trained" in page) is not bool(classified)


@pytest.mark.parametrize(
    "change", [{"agreement": {"at the end": {}}}, {"slots": [["D1"]]}, {"ends": [2.0]}, {"paths": "many"}]
)
def test_damage_is_told_in_one_line(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="what the run keeps of its path filter is damaged"):
        Filtered.from_json({**KEPT, **change})
