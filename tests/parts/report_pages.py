"""A small run, its page, and what a reader sees of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from made_trials import make_done

from optimizer.arch import PruneChannels, Resize
from optimizer.arch.macs import Cost
from optimizer.handover.front import make_front
from optimizer.handover.state import HandOverState
from optimizer.handover.variants import Variant, VariantResult
from optimizer.report.page import ReportData, write_report
from optimizer.search.base import FailedTrial, PendingTrial, Proposal, Trial, Work, list_done

RECORD = {
    "target": "cpu", "median_ms": 20.5, "ci95_ms": [20.1, 20.9], "p90_ms": 22.0, "p99_ms": 24.0,
    "flags": ["a busy machine"],
}  # fmt: skip
BASE = make_done(latency=RECORD, work=Work(5, 80, ((1, 2.0), (5, 1.0))))
PRUNED = make_done(
    1, Proposal(0, (PruneChannels(0.1, 8, 32),)), ap=0.41, counts=Cost(25 * 10**6, 3 * 10**9), cost_ratio=1.2,
    score=1.06, latency={**RECORD, "median_ms": 17.1}, work=Work(6, 20, (), ("52 of 480 channels of the backbone",)),
)  # fmt: skip
SMALL = make_done(
    2, Proposal(1, (Resize((128, 96)),)), arch=BASE.arch.with_size(128, 96), ap=0.35, ap50=0.6,
    counts=Cost(25 * 10**6, 2 * 10**9), cost_ratio=1.6, score=0.97, latency={**RECORD, "median_ms": 12.8},
    work=Work(7, 20),
)  # fmt: skip
FAILED = FailedTrial(3, Proposal(1), "the loss was not finite 5 times in a row")
PENDING = PendingTrial(4, Proposal(2))
NOT_BEGUN = HandOverState()
FAST = {**RECORD, "median_ms": 10.2, "ci95_ms": [10.0, 10.4]}
EXPORT = VariantResult(
    1, Variant("int8", 50), "kept", ap=0.415, ap50=0.69, macs=2 * 10**9, flops_mmdet=4 * 10**9, ratio=2.0, latency=FAST,
    score=1.1, bundle="bundles/student-001-int8-p50",
)  # fmt: skip


def make_data(trials: Sequence[Trial], state: HandOverState = NOT_BEGUN, **changes: Any) -> ReportData:
    done = list_done(trials)
    values: dict[str, Any] = {
        "title": "r18 for cpu",
        "status": "running",
        "finished": False,
        "settings": {"preset": "quick"},
        "environment": {"torch": "2.9"},
        "trials": trials,
        "trials_wanted": 6,
        "elapsed": "3 min",
        "front": make_front(done, state),
    }
    return ReportData(**{**values, **changes})


def page(tmp_path: Path, data: ReportData) -> str:
    write_report(tmp_path / "report.html", data)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    return (tmp_path / "report.html").read_text()


class Text(HTMLParser):
    """What a reader sees, and the tags there are."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._hidden = False
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._hidden = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data.strip())

    def __str__(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))
