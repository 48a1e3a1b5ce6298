"""The process that measures: reads a job as JSON on stdin, writes samples as JSON on stdout. Nothing else runs in it.

`python -m deploy.worker`; started by `deploy.measure`, the only timer of search, command line and runtime.
"""

from __future__ import annotations

import gc
import json
import pkgutil
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from deploy.engines import Engine, open_engine
from deploy.errors import DeployError
from deploy.latency import PROTOCOLS, MeasuringProtocol
from deploy.pipeline.decode import HEADS
from deploy.pipeline.preprocess import Preprocess
from deploy.pipeline.sources import read_image

MAX_FEED_BYTES = 256 << 20  # inputs held ready in memory, for all models together
CANARY_RUNS = 30
WARMUP_WINDOWS = 3
CONVERGED = 0.01


class Runner:
    """One model ready to be timed: engine, inputs in turn, decoding where the head is known."""

    def __init__(self, job: Dict[str, Any], threads: Optional[int], images: List[str], budget: int) -> None:
        self.engine: Engine = open_engine(job["path"], threads)
        self._decode: Optional[Callable[..., Any]] = HEADS[job["head"]] if job["head"] else None
        preprocess = Preprocess.from_json(job["preprocess"]) if job["preprocess"] else None
        self._feeds = list(_make_feeds(self.engine, preprocess, images, budget))
        self.feeds = len(self._feeds)
        self._turn = 0
        self.samples: List[float] = []
        self.windows: List[float] = []
        self.warmup_runs = 0
        self.warmed_up = False

    def run(self) -> float:
        """Milliseconds of one inference with decoding."""
        feed = self._feeds[self._turn % len(self._feeds)]
        self._turn += 1
        started = time.perf_counter_ns()
        outputs = self.engine.infer(feed)
        if self._decode is not None:
            self._decode(outputs)
        return (time.perf_counter_ns() - started) / 1e6

    def warm_up(self, protocol: MeasuringProtocol) -> None:
        """Run until the medians of three successive windows agree within 1 %."""
        started, medians = time.monotonic(), []  # type: float, List[float]
        while True:
            medians.append(statistics.median(self.run() for _ in range(protocol.window_runs)))
            self.warmup_runs += protocol.window_runs
            spent = time.monotonic() - started
            last = medians[-WARMUP_WINDOWS:]
            self.warmed_up = len(last) == WARMUP_WINDOWS and max(last) <= min(last) * (1 + CONVERGED)
            enough = spent >= protocol.warmup_s and self.warmup_runs >= protocol.warmup_runs
            if (enough and self.warmed_up) or spent >= protocol.warmup_max_s:
                return

    def measure_window(self, runs: int) -> None:
        """Time `runs` inferences after one that is not counted, because another model ran before."""
        self.run()
        window = [self.run() for _ in range(runs)]
        self.samples += [round(value, 5) for value in window]
        self.windows.append(round(statistics.median(window), 5))


def work(job: Dict[str, Any]) -> Dict[str, Any]:
    """The samples of all models of a job, measured in turn in random order, window by window."""
    protocol = PROTOCOLS[job["protocol"]]
    rng = random.Random(job["seed"])
    budget = MAX_FEED_BYTES // max(len(job["models"]), 1)
    runners = {name: Runner(model, job["threads"], job["images"], budget) for name, model in job["models"].items()}
    with tempfile.TemporaryDirectory() as folder:
        canary = _open_canary(Path(folder), job["threads"])
        for runner in runners.values():
            runner.warm_up(protocol)
        gc.collect()
        gc.disable()
        before = _time_canary(canary)
        started, order = time.monotonic(), list(runners)
        while not _enough(runners, protocol, time.monotonic() - started):
            rng.shuffle(order)
            for name in order:
                runners[name].measure_window(protocol.window_runs)
        after = _time_canary(canary)
        gc.enable()
        canary.close()
    return {
        "canary_ms": [before, after],
        "runtime": next(iter(runners.values())).engine.runtime,
        "models": {
            name: {
                "samples_ms": runner.samples,
                "windows_ms": runner.windows,
                "warmed_up": runner.warmed_up,
                "warmup_runs": runner.warmup_runs,
                "feeds": runner.feeds,
            }
            for name, runner in runners.items()
        },
    }


def _enough(runners: Dict[str, Runner], protocol: MeasuringProtocol, spent: float) -> bool:
    """Whether every model has its runs and seconds, or its time is up; all have as many windows as each other."""
    spent_each = spent / len(runners)
    runs = min(len(runner.samples) for runner in runners.values())
    return (runs >= protocol.min_runs and spent_each >= protocol.min_s) or (spent_each >= protocol.max_s and runs > 0)


def _make_feeds(
    engine: Engine, preprocess: Optional[Preprocess], images: List[str], budget: int
) -> List[Dict[str, np.ndarray]]:
    """Real images through the model's preprocessing; without images, or for inputs that are none, seeded noise."""
    first = engine.inputs[0]
    size = sum(int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for spec in engine.inputs)
    count = max(1, min(len(images) or 4, budget // size))
    is_image = len(engine.inputs) == 1 and len(first.shape) == 4 and first.shape[:2] == (1, 3)
    if images and is_image:
        preprocess = preprocess or Preprocess(first.shape[3], first.shape[2])
        arrays = (preprocess(read_image(Path(path)))[0] for path in images[:count])
        return [{first.name: array.astype(first.dtype)} for array in arrays]
    rng = np.random.default_rng(0)
    return [
        {spec.name: (rng.random(spec.shape) * 255).astype(spec.dtype) for spec in engine.inputs} for _ in range(count)
    ]


def _open_canary(folder: Path, threads: Optional[int]) -> Engine:
    content = pkgutil.get_data("deploy", "canary.onnx")
    assert content is not None
    path = folder / "canary.onnx"
    path.write_bytes(content)
    return open_engine(path, threads)


def _time_canary(canary: Engine) -> float:
    feed = {spec.name: np.ones(spec.shape, np.float32) for spec in canary.inputs}
    samples = []
    for _ in range(CANARY_RUNS):
        started = time.perf_counter_ns()
        canary.infer(feed)
        samples.append((time.perf_counter_ns() - started) / 1e6)
    return round(statistics.median(samples), 5)


def main() -> None:
    """Entry point of the measuring process; an error is an answer too."""
    try:
        answer: Dict[str, Any] = work(json.load(sys.stdin))
    except DeployError as error:
        answer = {"error": str(error), "exit_code": error.exit_code}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
