"""Is a latency that we measure the one that others measure? Wanted: medians within 3 %.

    pip install 'detopt[bench]'
    python benchmarks/latency_vs_others.py --model yolox_nano_416.onnx --report

One model in one process, the same input and the same thread settings, by our measuring loop, by polygraphy's ONNX
Runtime runner (the time it gives itself) and by a plain loop round a session's `run`. Windows take turns in a random
order, and ratios are of windows of one round. polygraphy's own loader leaves no choice of threads, so its runner is
given a session. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from time import perf_counter_ns

import numpy as np
import onnxruntime
from side_by_side import add_model_options

from deploy.files import hash_file
from deploy.measuring.canary import write_canary
from deploy.measuring.device import read_fingerprint
from deploy.measuring.intervals import find_median_interval
from deploy.measuring.request import Setup
from deploy.measuring.timing import NOISE_SEED, Runner, make_noise
from deploy.pipeline.model import ModelSource
from deploy.sensors.machine import count_physical_cores

REPORTS = Path(__file__).parent / "reports"
WANTED = 0.03
OTHERS = ("polygraphy", "plain loop")


def main() -> None:
    arguments = parse_arguments()
    try:
        from polygraphy.backend.onnxrt import OnnxrtRunner
    except ImportError as error:
        sys.exit(f"this needs polygraphy ({error}): pip install 'detopt[bench]'")
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or write_canary(Path(folder) / "canary.onnx")
        ours = Runner(ModelSource(model), (), Setup("ort", arguments.threads))
        feeds = make_noise(ours.engine.inputs, NOISE_SEED, model.name)
        plain = open_session(model, arguments.threads)
        with OnnxrtRunner(open_session(model, arguments.threads)) as theirs:

            def run_theirs() -> float:
                theirs.infer(feeds)
                return float(theirs.last_inference_time()) * 1e3

            def run_plain() -> float:
                started = perf_counter_ns()
                plain.run(None, feeds)
                return (perf_counter_ns() - started) / 1e6

            runs = {"ours": lambda: ours.run().infer_ms, "polygraphy": run_theirs, "plain loop": run_plain}
            windows = time_in_turns(runs, arguments.rounds, arguments.window, arguments.warm_up)
        ours.engine.close()
        result = {
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "model": model.name,
            "sha256": hash_file(model),
            "device": read_fingerprint(ours.engine.runtime, ours.engine.threads).to_json(),
            "polygraphy": version("polygraphy"),
            "settings": {name: getattr(arguments, name) for name in ("rounds", "window", "warm_up", "threads")},
            "median_ms": {name: round(float(np.median(find_medians(windows[name]))), 4) for name in windows},
            "ours_to": {name: compare_windows(windows["ours"], windows[name]) for name in OTHERS},
            "windows_ms": {name: np.round(windows[name], 4).tolist() for name in windows},
        }
    print("\n".join(list_rows(result)))
    if arguments.report:
        print(f"report: {write_report(result, arguments.hardware)}")


def open_session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    """With the settings that `deploy/engines/ort.py` has, written down anew."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def time_in_turns(
    runs: dict[str, Callable[[], float]], rounds: int, window: int, warm_up: int
) -> dict[str, np.ndarray]:
    """(rounds, window) milliseconds of each; in every round each has one window, after one run that does not count."""
    for run in runs.values():
        for _ in range(warm_up):
            run()
    samples = {name: np.empty((rounds, window)) for name in runs}
    order, names = random.Random(0), list(runs)
    for index in range(rounds):
        order.shuffle(names)
        print(f"round {index + 1} of {rounds}", file=sys.stderr, flush=True)
        for name in names:
            runs[name]()
            gc.disable()
            samples[name][index] = [runs[name]() for _ in range(window)]
            gc.enable()
    return samples


def find_medians(windows: np.ndarray) -> np.ndarray:
    return np.asarray(np.median(windows, axis=1))


def compare_windows(first: np.ndarray, second: np.ndarray) -> dict[str, object]:
    """Ratio of the medians of each round's windows: its median over rounds, and the interval of that."""
    ratios = find_medians(first) / find_medians(second)
    ratio = float(np.median(ratios))
    interval = [round(value, 4) for value in find_median_interval(ratios)]
    return {"ratio": round(ratio, 4), "ci95": interval, "within_3_percent": abs(ratio - 1) <= WANTED}


def list_rows(result: dict[str, object]) -> Iterator[str]:
    medians, ratios = result["median_ms"], result["ours_to"]
    assert isinstance(medians, dict) and isinstance(ratios, dict)
    yield "| measured by | median, ms | ours divided by it | 95 % interval | within 3 % |"
    yield "|---|---|---|---|---|"
    yield f"| ours | {medians['ours']:.3f} | | | |"
    for name in OTHERS:
        low, high = ratios[name]["ci95"]
        verdict = "yes" if ratios[name]["within_3_percent"] else "**no**"
        yield f"| {name} | {medians[name]:.3f} | {ratios[name]['ratio']:.4f} | {low:.4f} to {high:.4f} | {verdict} |"


def write_report(result: dict[str, object], hardware: str) -> Path:
    """`latency-vs-others_<hardware>_<YYYY-MM>.md` with its figures, and the samples as JSON beside it."""
    path = REPORTS / f"latency-vs-others_{hardware}_{datetime.now(timezone.utc):%Y-%m}.md"
    figures, device, settings = path.with_suffix(".json").name, result["device"], result["settings"]
    assert isinstance(device, dict) and isinstance(settings, dict)
    lines = [
        f"# Our latency beside polygraphy's and a plain loop's ({result['at']})",
        "",
        "Question: is a latency that we measure the one that others measure? Wanted: medians within 3 %.",
        "",
        "| | |",
        "|---|---|",
        f"| hardware | {device['cpu']}, {device['cores']} physical cores, load {device['load_average']} at the end |",
        f"| versions | {device['runtime']}, {device['threads']} threads; polygraphy {result['polygraphy']}; "
        f"{device['system']} |",
        f"| model | {result['model']}, SHA-256 {str(result['sha256'])[:16]}..., fed with seeded noise |",
        f"| timing | {settings['rounds']} rounds of {settings['window']} runs each, in turns of random order |",
        "",
        f"    python benchmarks/latency_vs_others.py --model {result['model']} --report",
        "",
        *list_rows(result),
        "",
        f"Every sample: [{figures}]({figures}).",
        "",
        "## What this does not claim",
        "",
        "- Nothing about TensorRT or a GPU, nor about pre- and post-processing, which the others do not have.",
        "- Nothing about polygraphy's own loader, which sets the threads itself.",
    ]
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".json").write_text(json.dumps(result) + "\n")
    return path


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--window", type=int, default=30, help="runs of each in a round")
    parser.add_argument("--warm-up", type=int, default=50, help="runs of each before the first round")
    parser.add_argument("--threads", type=int, default=count_physical_cores())
    add_model_options(parser, count_physical_cores())
    return parser.parse_args()


if __name__ == "__main__":
    main()
