"""Generations in the report: every look, the best so far, and the blocks that were found."""

from __future__ import annotations

from pathlib import Path

from drawn import read_traces
from made_trials import ARCH, make_done

from optimizer.arch.families import PATH_SPACES
from optimizer.arch.paths import PathSubnet
from optimizer.report.generations import Found, draw_fitness, draw_places, list_found
from optimizer.search.base import FailedTrial, Proposal, ScreenedTrial

BASE = make_done()
DEPTHS = PATH_SPACES["shufflenetv2_20"].depths


def make_path(digit: int) -> PathSubnet:
    return PathSubnet((digit,) * 19 + (0,), (320, 240))


def find(digit: int) -> Found:
    return Found(make_path(digit), ARCH.body.depths)


def look(number: int, aim: float, ap: float) -> ScreenedTrial:
    proposal = Proposal(None, (), "drawn", subnet=make_path(number % 4), epochs=0, aim=aim)
    return ScreenedTrial(number, proposal, ARCH, ap, 0.5, BASE.counts, 6.0)


LOOKS = [look(1, 0.8, 0.2), look(2, 0.8, 0.3), look(3, 0.8, 0.1), look(5, 0.6, 0.25)]


def test_fitness_is_every_look_and_the_best_so_far_of_each_limit() -> None:
    failed = FailedTrial(4, LOOKS[0].proposal, "no")
    traces = read_traces(draw_fitness([BASE, *LOOKS[:3], failed, *LOOKS[3:]]))
    assert [trace.get("name") for trace in traces] == [None, "best within 0.8", None, "best within 0.6"]
    assert [trace["y"] for trace in traces] == [[0.2, 0.3, 0.1], [0.2, 0.3, 0.3], [0.25], [0.25]]
    assert traces[3]["x"] == [0.4], "limits follow each other in time"


def test_what_was_found_is_what_was_trained_or_the_best_so_far() -> None:
    assert list_found([BASE]) == {}
    so_far = list_found([BASE, *LOOKS])
    assert so_far == {"best so far within 0.8": find(2), "best so far within 0.6": find(1)}
    trained = make_done(6, Proposal(None, (), "the best", subnet=make_path(2), aim=0.8))
    assert list_found([BASE, *LOOKS, trained]) == {"trial 6, within 0.8": find(2)}


def test_places_are_coloured_by_their_block(tmp_path: Path) -> None:
    traces = read_traces(draw_places({"one": Found(make_path(2), DEPTHS), "other": Found(make_path(3), DEPTHS)}))
    assert {trace["name"]: len(trace["x"]) for trace in traces} == {  # type: ignore[arg-type]
        "shuffle 3x3": 2, "shuffle 5x5": 0, "shuffle 7x7": 19, "xception 3x3": 19,
    }  # fmt: skip
    assert traces[2]["x"] == list(range(1, 20)) and set(traces[2]["y"]) == {"one (320x240)"}  # type: ignore[arg-type]
