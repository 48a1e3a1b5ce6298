"""Trials and latencies for tests that need some and care about few of their figures."""

from __future__ import annotations

from typing import Any

from deploy import LatencyRecord
from deploy.measuring.device import read_fingerprint
from deploy.measuring.record import Canary, WarmUp
from optimizer.arch.families import base_arch
from optimizer.arch.macs import Cost
from optimizer.search.base import DoneTrial, Proposal, TrialFiles, Work

ARCH = base_arch("r18", (160, 120), region_proposals=100)


def make_done(number: int = 0, proposal: Proposal | None = None, **changes: Any) -> DoneTrial:
    """A finished trial: the base where no number is given, else a child of it."""
    values: dict[str, Any] = {
        "number": number,
        "proposal": proposal or Proposal(None if number == 0 else 0),
        "arch": ARCH,
        "ap": 0.4,
        "ap50": 0.7,
        "counts": Cost(28 * 10**6, 4 * 10**9, 8 * 10**9),
        "cost_ratio": 1.0,
        "score": 1.0,
        "latency": None,
        "files": TrialFiles("a" * 64, "b" * 64),
        "work": Work(5.0, 80.0),
    }
    return DoneTrial(**{**values, **changes})


def make_record(ms: float, model: str = "") -> LatencyRecord:
    """Twelve windows round a latency, all of one lease."""
    windows = tuple((ms * (1 + 0.001 * (index % 3)),) * 5 for index in range(12))
    return LatencyRecord(
        "final", model, "cpu", read_fingerprint("", 1), "lease", "2026-11-21T00:00:00+00:00", windows, 1.0,
        (WarmUp(3, True),), "runs", "noise", None, (Canary(1.0, 1.0),),
    )  # fmt: skip
