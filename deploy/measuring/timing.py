"""The clock: models run in turns, in windows, with a canary before and after. Every latency is timed here."""

from __future__ import annotations

import gc
import random
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter_ns, sleep
from typing import Callable, Iterator, Optional, Sequence

import numpy as np

from deploy.builders.build import prepare_model
from deploy.engines import TensorSpec, open_engine
from deploy.errors import DeployError, InputError
from deploy.measuring.canary import write_canary
from deploy.measuring.protocols import MeasuringProtocol
from deploy.measuring.record import Canary, WarmUp
from deploy.measuring.request import MeasuringRequest, Setup
from deploy.pipeline.detector import Detector, Timings
from deploy.pipeline.model import ModelSource
from deploy.sensors import Span

__all__ = ["NOISE_SEED", "At", "Runner", "Timed", "TimedLease", "make_noise", "time_models"]

NOT_WARM = WarmUp(0, False)
NOISE_SEED = 0
FRESH_RUNS, FEWEST_FRESH_RUNS, FRESH_S = 3, 2, 0.1  # before a window; fewer of a model that is slow
ALL_WINDOWS, CAPPED = "all windows timed", "time cap"
At = Callable[[Optional[str]], None]  # takes the name of the model that runs from now on, None between two


@dataclass
class Timed:
    """What was seen of one model so far; `error` says why there is no more."""

    runtime: str = ""
    threads: int = 0
    notes: tuple[str, ...] = ()
    warm_up: WarmUp = NOT_WARM
    windows_ms: list[tuple[float, ...]] = field(default_factory=list)
    pre_ms: list[float] = field(default_factory=list)
    gpu_ms: list[float] = field(default_factory=list)
    work: Span | None = None
    bound: str = ""
    error: str | None = None

    def reached(self, protocol: MeasuringProtocol) -> bool:
        return len(self.windows_ms) >= protocol.windows


@dataclass(frozen=True)
class TimedLease:
    """All models' samples from one stay on a device, window by window in step, and the canary around them.

    `span` is when they were timed, `idle` when the device was at rest before; `Timed.work` when a model's energy was
    metered.
    """

    timed: dict[str, Timed]
    canary: Canary
    span: Span
    idle: Span | None = None


class Runner:
    """One opened model and its images; `run` takes the next image and says how long it took."""

    def __init__(
        self,
        source: ModelSource,
        images: Sequence[np.ndarray],
        setup: Setup,
        effort: int | None = None,
    ) -> None:
        self._images = images
        self._count = 0
        self._detector: Detector | None = None
        self._preprocess = source.preprocess if len(images) else None
        self._opening = (ModelSource.of(source, prepare_model(source.model, setup.engine, effort)), setup)
        self.open()
        if source.preprocess is None or not source.detects:
            self._noise = make_noise(self.engine.inputs, NOISE_SEED, source.model.name)
        elif not len(images):
            canvas = (source.preprocess.height, source.preprocess.width, 3)
            self._images = [np.random.default_rng(NOISE_SEED).integers(0, 256, canvas, np.uint8)]

    def open(self) -> None:
        """Load the model, in memory and threads of its own."""
        source, setup = self._opening
        if source.detects:
            self._detector = Detector(source, setup.threads, setup.engine)
            self.engine = self._detector.engine
        else:
            self.engine = open_engine(source.model, setup.threads, setup.engine)

    def close(self) -> None:
        self.engine.close()

    def run(self) -> Timings:
        self._count += 1
        if self._detector is not None:
            return self._detector.detect_timed(self._images[self._count % len(self._images)])[1]
        feeds = self._noise
        if self._preprocess is not None:
            feeds = {self.engine.inputs[0].name: self._preprocess(self._images[self._count % len(self._images)])[0]}
        started = perf_counter_ns()
        self.engine.infer(feeds)
        return Timings(0.0, (perf_counter_ns() - started) / 1e6, self.engine.last_gpu_ms)


def make_noise(inputs: Sequence[TensorSpec], seed: int, model: str) -> dict[str, np.ndarray]:
    """Seeded values for each input: normal for floats, 0 to 255 for bytes, 0 or 1 otherwise."""
    rng = np.random.default_rng(seed)
    noise = {}
    for spec in inputs:
        if None in spec.shape:
            raise InputError(f"{model}: input {spec} has a free dimension; measuring needs a fixed shape")
        shape = tuple(side for side in spec.shape if side is not None)
        if spec.dtype.startswith("float"):
            noise[spec.name] = rng.standard_normal(shape, np.float32).astype(spec.dtype)
        else:
            noise[spec.name] = rng.integers(0, 256 if spec.dtype == "uint8" else 2, shape).astype(spec.dtype)
    return noise


def time_models(
    request: MeasuringRequest,
    images: Sequence[np.ndarray],
    report: Callable[[str], None],
    at: At,
    metered: bool = False,
) -> TimedLease:
    """Time models in turns, in a new random order each round, so that a drifting machine treats them alike.

    Every model takes part in every round, hence window i of one belongs to window i of the others, and is opened anew
    for it. A model that cannot be run has its reason in `Timed.error`; the others go on. `at` takes the name of the
    model that runs from now on, None after it: should this process end, it was that one. Where power is ``metered``,
    the device rests before, and each model runs alone afterwards, for as long as the rules say.
    """
    rules, setup = request.rules, request.setup
    timed = {name: Timed() for name in request.subjects}
    order = random.Random(request.seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="canary-")))
        canary = Runner(ModelSource(write_canary(folder / "canary.onnx")), (), setup, rules.effort)
        stack.callback(canary.close)
        runners: dict[str, Runner] = {}
        for name, source in request.subjects.items():
            with _running(name, timed[name], at):
                runners[name] = Runner(source, images, setup, rules.effort)
                stack.callback(runners[name].close)
                opened = runners[name].engine
                timed[name].runtime, timed[name].threads, timed[name].notes = (
                    opened.runtime,
                    opened.threads,
                    opened.notes,
                )
        idle = _rest(rules.idle_s) if metered and rules.energy_s else None
        before = _time_canary(canary, rules)
        for name, runner in runners.items():
            report(f"warming up {name}")
            with _running(name, timed[name], at):
                timed[name].warm_up = _warm_up(runner, rules)
        started = monotonic()
        going = [name for name in runners if timed[name].error is None]
        while going and not all(timed[name].reached(rules) for name in going):
            over = monotonic() - started > rules.cap_s * len(going)
            if over and len(timed[going[0]].windows_ms) >= rules.min_windows:
                break
            order.shuffle(going)
            report(f"timing {', '.join(sorted(going))}: round {len(timed[going[0]].windows_ms) + 1}")
            for name in going:
                with _running(name, timed[name], at):
                    _add_window(timed[name], runners[name], rules)
            going = [name for name in going if timed[name].error is None]
        span = Span(started, monotonic())
        for item in timed.values():
            item.bound = ALL_WINDOWS if item.reached(rules) else CAPPED
        after = _time_canary(canary, rules) if going else before
        for name in going if idle else ():
            report(f"metering the energy of {name}")
            with _running(name, timed[name], at):
                timed[name].work = _run_for(runners[name], rules.energy_s)
    return TimedLease(timed, Canary(round(before, 4), round(after, 4)), span, idle)


def _warm_up(runner: Runner, rules: MeasuringProtocol) -> WarmUp:
    started, runs = monotonic(), 0
    medians: list[float] = []
    while True:
        window = _run_window(runner, rules)
        runs += len(window)
        medians.append(float(np.median([item.infer_ms for item in window])))
        last = medians[-3:]
        settled = len(last) == 3 and max(last) / min(last) - 1 < rules.settled
        seconds = monotonic() - started
        enough = runs >= rules.warm_up_runs and seconds >= rules.warm_up_s
        if (enough and settled) or seconds >= rules.warm_up_cap_s:
            return WarmUp(runs, settled)


def _add_window(timed: Timed, runner: Runner, rules: MeasuringProtocol) -> None:
    if timed.windows_ms:  # what a session got of the machine it keeps, good or bad: windows of one are not independent
        runner.close()
        runner.open()
    started = monotonic()
    for count in range(FRESH_RUNS):  # the first two in a session take memory; the model before has emptied the caches
        if count >= FEWEST_FRESH_RUNS and monotonic() - started > FRESH_S:
            break
        runner.run()
    window = _run_window(runner, rules)
    timed.windows_ms.append(tuple(round(item.infer_ms, 4) for item in window))
    timed.pre_ms += [item.pre_ms for item in window]
    timed.gpu_ms += [item.gpu_ms for item in window if item.gpu_ms is not None]


def _run_window(runner: Runner, rules: MeasuringProtocol) -> list[Timings]:
    samples: list[Timings] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        started = monotonic()
        while len(samples) < rules.window_runs:
            if rules.gap_s:
                sleep(rules.gap_s)
            samples.append(runner.run())
            if monotonic() - started >= rules.window_s and len(samples) >= rules.window_min_runs:
                break
    finally:
        if collecting:
            gc.enable()
    return samples


def _time_canary(canary: Runner, rules: MeasuringProtocol) -> float:
    """Median milliseconds; the first third of the time warms it up."""
    samples: list[float] = []
    started = monotonic()
    while monotonic() - started < rules.canary_s or len(samples) < 5:
        timing = canary.run()
        if monotonic() - started >= rules.canary_s / 3:
            samples.append(timing.infer_ms)
    return float(np.median(samples))


def _rest(seconds: float) -> Span:
    started = monotonic()
    sleep(seconds)
    return Span(started, monotonic())


def _run_for(runner: Runner, seconds: float) -> Span:
    started, frames = monotonic(), 0
    while frames == 0 or monotonic() - started < seconds:
        runner.run()
        frames += 1
    return Span(started, monotonic(), frames)


@contextmanager
def _running(name: str, timed: Timed, at: At) -> Iterator[None]:
    """Says which model runs; its errors are noted."""
    at(name)
    try:
        yield
    except DeployError as error:
        timed.error = str(error)
    at(None)
