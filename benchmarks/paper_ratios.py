"""Are Joint-DetNAS' students as much faster than their bases here as in its tables? FPS +17, +24, +47, +6 %.

    python benchmarks/paper_ratios.py [--bases r18,r50,r101,x101] [--rounds 6]

Each base at 1333x800 and its published student at its own canvas (1080x720; of X101 1333x800), with random weights and
1,000 region proposals, exported by this project and run in turns in one process by ONNX Runtime. The paper has figures
of a V100; a CPU spends its time elsewhere, so its ratios need not be the paper's.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from encodings_of_the_paper import PRINTED_GAIN, STUDENT_SIZES, parse_student
from export_vs_torchvision import CORES
from side_by_side import Outcome, add_options, compare, finish, time_in_turns

from deploy.engines import Engine, open_engine
from deploy.export import export_onnx
from optimizer.arch import ArchSpec, base_arch
from optimizer.detectors import build_detector

BASE_SIZE = (1333, 800)


def open_arch(arch: ArchSpec, path: Path, threads: int) -> Engine:
    export_onnx(build_detector(arch, 80, seed=0).eval(), arch.input_size, path)
    return open_engine(path, threads)


def measure_pair(name: str, base_size: tuple[int, int], rounds: int, threads: int) -> dict[str, np.ndarray]:
    """Milliseconds of base and student, by rounds."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        runs = {}
        student_size = STUDENT_SIZES[name] if base_size == BASE_SIZE else base_size
        for side, arch in (("base", base_arch(name, base_size)), ("student", parse_student(name, student_size))):
            engine = stack.enter_context(open_arch(arch, Path(folder) / f"{side}.onnx", threads))
            width, height = arch.input_size
            image = np.random.default_rng(0).standard_normal((1, 3, height, width), np.float32)
            runs[side] = partial(engine.infer, {"images": image})
        return time_in_turns(runs, rounds, warm_up=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", default="r18,r50,r101,x101", type=lambda text: text.split(","))
    parser.add_argument(
        "--size", type=int, nargs=2, default=BASE_SIZE, help="canvas of the bases; another one is a trial"
    )
    parser.add_argument("--threads", type=int, default=CORES)
    add_options(parser, "paper-ratios", 6)
    arguments = parser.parse_args()
    outcomes, samples = [], {}
    for name in arguments.bases:
        found = measure_pair(name, tuple(arguments.size), arguments.rounds, arguments.threads)
        gain, (low, high) = compare(found["base"], found["student"])
        question = f"{name}: FPS of the student over the base's (the paper prints {1 + PRINTED_GAIN[name] / 100:.2f})"
        outcomes.append(Outcome(question, gain, ci95=(low, high)))
        samples[name] = found
        print(
            f"{name}: base {np.median(found['base']):.0f} ms, student {np.median(found['student']):.0f} ms", flush=True
        )
    finish(arguments.json, __doc__.splitlines()[0], outcomes, printed=PRINTED_GAIN, samples_ms=samples)


if __name__ == "__main__":
    main()
