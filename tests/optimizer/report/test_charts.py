"""What the figures of a page hold, read back from the page's own scripts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from made_trials import make_done

from optimizer.arch import PruneChannels
from optimizer.handover.front import make_front
from optimizer.handover.state import HandOverState
from optimizer.report.charts import draw_front, draw_growth, draw_time
from optimizer.report.timeline import PARTS, trace_growth
from optimizer.search.base import Proposal, Work
from optimizer.search.costs import COSTS
from optimizer.search.latency import FurtherCost

RECORD = {"target": "cpu", "median_ms": 20.0, "ci95_ms": [19.9, 20.1], "p90_ms": 21.0, "p99_ms": 22.0, "flags": []}
BASE = make_done(latency=RECORD, work=Work(5, 120.0))
PRUNED = make_done(
    1, Proposal(0, (PruneChannels(0.1, 8, 32),)), ap=0.3, cost_ratio=2.0, latency=RECORD, work=Work(6, 60.0)
)


def read(fragment: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The traces and the layout of a chart."""
    data = re.search(r'<script type="application/json" class="chart" data-of="[^"]+">(.*)</script>$', fragment)
    assert data is not None
    figure = json.loads(data[1])
    return figure["data"], figure["layout"]


def test_the_growth_is_one_step_line_and_names_who_raised_it() -> None:
    (line, raisers), layout = read(draw_growth(trace_growth([BASE, PRUNED]), COSTS["latency"]))
    assert line["line"]["shape"] == "hv" and line["x"] == [2.0, 3.0] and line["y"] == pytest.approx([0.0, 0.15])
    assert raisers["x"] == [3.0]
    [text] = raisers["text"]
    assert "trial 1</b>: prune channels" in text and "AP 0.300 at 0.50 of the base's latency" in text
    assert "minutes" in layout["xaxis"]["title"]["text"]
    long = make_done(1, ap=0.3, cost_ratio=2.0, work=Work(6, 4 * 3600.0))
    (line, _), layout = read(draw_growth(trace_growth([BASE, long]), COSTS["macs"]))
    assert line["x"] == pytest.approx([1 / 30, 4 + 1 / 30]) and "hours" in layout["xaxis"]["title"]["text"]


def test_a_run_by_energy_is_drawn_in_millijoules_of_the_base() -> None:
    trials = [replace(trial, latency={**RECORD, "energy": {"gross_mj": 300.0}}) for trial in (BASE, PRUNED)]
    front = make_front(trials, HandOverState(), kind=COSTS["energy"])
    traces, layout = read(draw_front(front))
    assert layout["xaxis"]["title"]["text"] == "energy on the target, mJ (the base's, by ratio to it)"
    [text] = next(trace["text"] for trace in traces if trace["name"] == "on the front")
    assert "150.00 mJ, 2.00 times as frugal as the base" in text
    (_, raisers), _ = read(draw_growth(trace_growth(trials), front.kind))
    assert "at 0.50 of the base's energy" in raisers["text"][0]


def test_energy_beside_latency_is_drawn_by_itself_with_other_exports() -> None:
    record = {**RECORD, "energy": {"gross_mj": 300.0}}
    costs = {"energy on cpu": FurtherCost(1.5, record, "energy")}
    base, pruned = (replace(trial, latency=record, elsewhere=costs) for trial in (BASE, PRUNED))
    front = make_front([base, pruned], HandOverState(), kind=COSTS["latency+energy"])
    traces, layout = read(draw_front(front, target="energy on cpu"))
    assert layout["xaxis"]["title"]["text"] == "energy on cpu, mJ (the base's, by ratio to it)"
    [text] = next(trace["text"] for trace in traces if trace["name"] == "on the front")
    assert "200.00 mJ, 1.50 times as frugal as the base" in text


def test_the_bar_of_the_time_has_a_share_for_every_part() -> None:
    parts = dict.fromkeys([*PARTS.values(), "other"], 60.0)
    traces, layout = read(draw_time({**parts, "training": 240.0}))
    assert layout["barmode"] == "stack" and sum(trace["x"][0] for trace in traces) == pytest.approx(1)
    assert traces[0]["name"] == "training 40%" and "training: 4.0 minutes" in traces[0]["hovertemplate"]
    assert len({trace["marker"]["color"] for trace in traces}) == len(parts)


def test_aims_are_thin_lines_behind_the_front() -> None:
    _, layout = read(draw_front(make_front([BASE, PRUNED], HandOverState()), [0.75, 0.5]))
    assert [shape["x0"] for shape in layout["shapes"]] == pytest.approx([15.0, 10.0]), "milliseconds"
    assert {(shape["layer"], shape["line"]["width"]) for shape in layout["shapes"]} == {("below", 1)}
    _, layout = read(draw_front(make_front([BASE, PRUNED], HandOverState())))
    assert "shapes" not in layout
