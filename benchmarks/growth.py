"""Does a run of 1,000 trials cost more per trial than one of 10? The real run, whose trials are a formula.

    python benchmarks/growth.py [--trials 1000] [--methods joint,pareto,random] [--json FILE]

Nothing is trained, exported or measured: a trial is an architecture, counted operations, a formula for its AP, and two
small files. All else is the run as a user has it: its database, the strategy, the page after trials, house-keeping. The
time between the end of a trial and the beginning of the next one is the run's own. Printed of each method are its mean
after the first trials, after the last ones and over all; the seconds that a resume takes until it goes on with the next
trial, once its modules are imported; seconds and bytes of the report page; and what house-keeping would leave of these
trials on disk if each was an R50 (weights and model in FP32, the rest of its training in bfloat16).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import onnx

from deploy.export.onnx import OPSET
from optimizer.arch.actions import uniform_importance
from optimizer.arch.macs import count
from optimizer.arch.spec import ArchSpec
from optimizer.config import RunConfig
from optimizer.errors import Interrupted
from optimizer.recipes import smoke
from optimizer.run import run as runs
from optimizer.run.gather import report_run
from optimizer.run.images import read_data
from optimizer.run.storage import list_needed
from optimizer.search.base import DoneTrial, Proposal, ScreenedTrial, TrialFiles, Work, get_done, list_done
from optimizer.store import RunStore

SIZE = (128, 96)
CLASSES = 3
CURVE = 20  # points of a training's losses
R50_BYTES = 41.5e6 * (4 + 4 + 2 + 2)  # of a base: weights, model, momentum, and how far they are ahead of their average
EDGE = 20  # trials at the beginning and at the end that are averaged over


class Moment(NamedTuple):
    """Seconds of the clock, and of this process on a processor: others that share it change the first alone."""

    wall: float
    cpu: float

    @staticmethod
    def now() -> Moment:
        return Moment(time.perf_counter(), time.process_time())

    def since(self, earlier: Moment) -> Moment:
        return Moment(self.wall - earlier.wall, self.cpu - earlier.cpu)

    @staticmethod
    def mean(of: Sequence[Moment]) -> Moment:
        return Moment(fmean(item.wall for item in of), fmean(item.cpu for item in of))


@dataclass
class Formula:
    """Evaluates proposals, and stops the run once it asks for a student too many."""

    store: RunStore
    config: RunConfig
    trials: int
    trainer: Any = field(default_factory=lambda: SimpleNamespace(forget=lambda number: None, teacher=None))
    gaps: list[Moment] = field(default_factory=list)
    asked: Moment = field(default_factory=lambda: Moment(0.0, 0.0))
    _ended: Moment | None = None

    def with_pool(self, pool: object) -> Formula:
        return self

    def with_teacher(self, teacher: object) -> Formula:
        return self

    def __call__(self, number: int, proposal: Proposal) -> DoneTrial | ScreenedTrial:
        self.asked = Moment.now()
        if self._ended is not None:
            self.gaps.append(self.asked.since(self._ended))
        if number > self.trials:
            raise KeyboardInterrupt
        trial = self._evaluate(number, proposal)
        self._ended = Moment.now()
        return trial

    def _evaluate(self, number: int, proposal: Proposal) -> DoneTrial | ScreenedTrial:
        arch, base = self._build(proposal), self.config.base_arch()
        counts, noise = count(arch, CLASSES), Random(number)
        share = counts.macs / count(base, CLASSES).macs
        found = 1 + 1e-4 * number  # so that the best are others as a search goes on, and have children
        ap = min(0.5 * found * share**0.15 * (1 + noise.gauss(0, 0.02)), 1.0)
        if proposal.screens:
            return ScreenedTrial(number, proposal, arch, 0.6 * ap, 0.7 * ap, counts, 1.0)
        curve = tuple((step, 3.0 / (step + 1) + noise.random()) for step in range(1, CURVE + 1))
        return DoneTrial(
            number, proposal, arch, ap, ap, counts, 1 / share, ap / share**0.4, None, self._write_files(number, arch),
            Work(float(number), 60.0, curve, ("backbone channels 3904 to 3800",), {"train": 50.0, "export": 10.0}),
        )  # fmt: skip

    def _build(self, proposal: Proposal) -> ArchSpec:
        if proposal.parent is None:
            return self.config.base_arch()
        arch = get_done(self.store.history(), proposal.parent).arch
        for action in proposal.actions:
            arch = action.apply(arch, uniform_importance(arch)).child
        return arch

    def _write_files(self, number: int, arch: ArchSpec) -> TrialFiles:
        source = self.store.folder / "scratch" / "source"
        source.parent.mkdir(exist_ok=True)
        source.write_text(f"weights of trial {number}")
        weights = self.store.artefacts.put_file(source)
        source.write_bytes(_make_model(number, arch.input_size))
        return TrialFiles(weights, self.store.artefacts.put_file(source))


def _make_model(number: int, size: tuple[int, int]) -> bytes:
    """A model that detects nothing, another one for each trial."""
    outputs = {
        "boxes": np.zeros((8, 4), np.float32), "scores": np.zeros(8, np.float32), "labels": np.zeros(8, np.int64),
        "count": np.zeros(1, np.int64),
    }  # fmt: skip
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"constant_{name}"], [name]) for name in outputs],
        f"trial {number}",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, *size[::-1]])],
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in outputs.items()
        ],
        [onnx.numpy_helper.from_array(value, f"constant_{name}") for name, value in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return bytes(model.SerializeToString())


def make_config(method: str, trials: int) -> RunConfig:
    """Of a run that is long in no time; on five best alone every action has soon been tried."""
    return smoke().changed({
        "search.method": method, "search.teacher": "none", "search.cost": "macs", "search.trials": 10 * trials,
        "search.finetuned": 0, "input_size": SIZE, "shapes.train": 6, "shapes.val": 2, "shapes.size": SIZE,
        "search.space.sizes": (SIZE, (112, 84), (96, 72)), "search.top_k": 50,
    })  # fmt: skip


@contextmanager
def formulas(trials: int) -> Iterator[list[Formula]]:
    """Runs that are started inside evaluate by formula; yields what evaluates, one for each of them."""
    made: list[Formula] = []
    real, real_probes = runs.build_evaluation, runs.measure_probes

    def build(config: RunConfig, store: RunStore, *rest: object) -> Formula:
        made.append(Formula(store, config, trials))
        return made[-1]

    runs.build_evaluation = build  # type: ignore[assignment]
    runs.measure_probes = lambda *rest: ()
    try:
        yield made
    finally:
        runs.build_evaluation, runs.measure_probes = real, real_probes


def measure(method: str, trials: int, folder: Path) -> dict[str, Any]:
    """Figures of one run with trials from 0 to this number."""
    config = make_config(method, trials)
    with formulas(trials) as made:
        _until_stopped(lambda: runs.start_run(config, folder))
        started = Moment.now()
        _until_stopped(lambda: runs.resume_run(folder))
        resumed = made[1].asked.since(started)
    gaps = made[0].gaps
    with RunStore.open(folder) as store:
        val = read_data(store, config).val
        started = Moment.now()
        page = report_run(store, config, val, "running")
        written = Moment.now().since(started)
        held = _count_held(store, config)
        done = len(list_done(store.history()))
    return {
        "method": method, "trials": trials, "trained": done, "page_bytes": page.stat().st_size,
        "kept": len(held), "kept_bytes_of_r50": sum(held.values()),
        **{f"{name}_s": {"wall": moment.wall, "cpu": moment.cpu} for name, moment in (
            ("first", Moment.mean(gaps[:EDGE])), ("last", Moment.mean(gaps[-EDGE:])), ("all", Moment.mean(gaps)),
            ("resume", resumed), ("page", written),
        )},
    }  # fmt: skip


def _count_held(store: RunStore, config: RunConfig) -> dict[int, float]:
    """Bytes of each trial that house-keeping keeps, if the base was an R50."""
    base, history = get_done(store.history(), 0), store.history()
    return {
        number: R50_BYTES * get_done(history, number).counts.params / base.counts.params
        for number in list_needed(store, config)
    }


def _show(seconds: dict[str, float], factor: float, digits: int) -> str:
    return f"{factor * seconds['cpu']:.{digits}f} ({factor * seconds['wall']:.{digits}f})"


def _until_stopped(work: Any) -> None:
    try:
        work()
    except Interrupted:
        return
    sys.exit("the search ended before it had that many trials; ask for fewer (--trials)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--methods", default="joint,pareto,random")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    for method in arguments.methods.split(","):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(method, arguments.trials, Path(folder) / "run"))
        if arguments.json:  # after each, because one takes a while
            arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print("seconds of a processor (and of the clock); a trial's: mean of the first 20, of the last 20, of all")
    print("method   trials trained  ms/trial: first, last, all   resume s   page s   page MB  kept  GB as R50")
    for row in rows:
        each = "  ".join(_show(row[f"{name}_s"], 1e3, 1) for name in ("first", "last", "all"))
        print(
            f"{row['method']:<8} {row['trials']:>6} {row['trained']:>7} {each}  {_show(row['resume_s'], 1, 2)}  "
            f"{_show(row['page_s'], 1, 2)}  {row['page_bytes'] / 1e6:.2f} {row['kept']:>5} "
            f"{row['kept_bytes_of_r50'] / 1e9:>6.2f}"
        )


if __name__ == "__main__":
    main()
