"""What benchmarks of two sides share: timing in turns, ratios with their intervals, and one form of result.

A result is a JSON file with `outcomes`: a figure per question, what was wanted of it, and whether it is so. `bench.py`
lists the outcomes of all, `history.py` draws them over time.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from deploy.measuring.intervals import find_median_interval

__all__ = [
    "Outcome", "add_model_options", "add_options", "compare", "finish", "list_outcomes", "time_in_turns", "time_rounds",
]  # fmt: skip

Run = Callable[[], object]


@dataclass(frozen=True)
class Outcome:
    """One figure that answers a question.

    Attributes:
        wanted: at most this, or at least where `more_is_better`; None where nothing is wanted of it.
    """

    question: str
    value: float
    wanted: float | None = None
    more_is_better: bool = False
    ci95: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        if self.wanted is None:
            return None
        return self.value >= self.wanted if self.more_is_better else self.value <= self.wanted

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "met": self.met}


def time_in_turns(
    runs: Mapping[str, Run], rounds: int, window: int = 1, warm_up: int = 2, seconds: float = float("inf")
) -> dict[str, np.ndarray]:
    """(rounds, window) milliseconds of each: in every round each has one window, in a random order.

    Ends with the rounds, or with the round in which the seconds are over.
    """
    for run in runs.values():
        for _ in range(warm_up):
            run()
    samples: dict[str, list[list[float]]] = {name: [] for name in runs}
    order, names, end = random.Random(0), list(runs), time.monotonic() + seconds
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            gc.disable()
            samples[name].append([_time(runs[name]) for _ in range(window)])
            gc.enable()
        if time.monotonic() > end:
            break
    return {name: np.array(values) for name, values in samples.items()}


def time_rounds(parts: Mapping[str, Run], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each, once a round and in the same order in each; rounds before these are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(warm_up + rounds):
        for name, part in parts.items():
            taken = _time(part) / 1e3
            if turn >= warm_up:
                seconds[name].append(taken)
    return seconds


def _time(run: Run) -> float:
    started = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - started) / 1e6


def compare(first: np.ndarray, second: np.ndarray) -> tuple[float, tuple[float, float]]:
    """The first's time over the second's, of windows of one round: median over rounds, and its 95 % interval."""
    ratios = np.median(first, axis=1) / np.median(second, axis=1)
    low, high = find_median_interval(ratios)
    return round(float(np.median(ratios)), 4), (round(low, 4), round(high, 4))


def list_outcomes(outcomes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A Markdown table."""
    yield "| question | figure | 95 % | wanted | |"
    yield "|---|---|---|---|---|"
    for outcome in outcomes:
        wanted, interval = outcome["wanted"], outcome.get("ci95")
        bound = "" if wanted is None else f"{'>=' if outcome['more_is_better'] else '<='} {wanted:g}"
        spread = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
        verdict = {True: "yes", False: "**no**", None: ""}[outcome["met"]]
        yield f"| {outcome['question']} | {outcome['value']:.3f} | {spread} | {bound} | {verdict} |"


def add_options(parser: argparse.ArgumentParser, theme: str, rounds: int) -> None:
    parser.add_argument("--rounds", type=int, default=rounds, help=f"turns of each side (default: {rounds})")
    parser.add_argument("--json", type=Path, default=Path(f"runs/{theme}.json"), help="file of the result")


def add_model_options(parser: argparse.ArgumentParser, cores: int) -> None:
    """Which model is measured, and the report on it."""

    def read_model(text: str) -> Path:
        if not Path(text).is_file():
            raise argparse.ArgumentTypeError(f"there is no model {text}")
        return Path(text)

    words = "an ONNX file of fixed shapes that you trust; the canary without it"
    parser.add_argument("--model", type=read_model, help=words)
    parser.add_argument("--report", action="store_true", help="write a report into benchmarks/reports")
    parser.add_argument("--hardware", default=f"cpu{cores}", help="word in the report's name")


def finish(path: Path, question: str, outcomes: Sequence[Outcome], **more: Any) -> None:
    """Print the outcomes, and write them with everything else that was found."""
    from export_vs_torchvision import CORES, describe_machine  # needs torch, which not all who compare have loaded

    shown = [outcome.to_json() for outcome in outcomes]
    result = {
        "question": question, "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": describe_machine(CORES), "outcomes": shown, **more,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, default=_plain) + "\n")
    print("\n".join(list_outcomes(shown)))
    print(f"written: {path}")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.round(4).tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")
