"""What each distiller gives a student: one teacher, one schedule, one row a set of distillers, several seeds.

    python benchmarks/distillers_compared.py run --data ../shared/data/bccd --size 160x120 --out runs/distillers
    python benchmarks/distillers_compared.py cost --data ../shared/data/bccd --size 160x120 --out runs/distillers
    python benchmarks/distillers_compared.py table --out runs/distillers --report benchmarks/reports/FILE.md

`run` trains the teacher once, then a student from the same first weights for each row and seed; it may be killed and
started again. `cost` times a training step of every row in turns, and the teacher's forward pass, on a machine that has
to be idle. `table` puts both together.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from side_by_side import time_rounds

from deploy import Preprocess
from deploy.data import keep_fitting, read_dataset
from deploy.evaluate import evaluate_detections
from deploy.files import write_file
from optimizer.arch.families import base_arch
from optimizer.arch.spec import ArchSpec
from optimizer.data.loader import TrainLoader
from optimizer.detectors import build_detector, load_detector
from optimizer.distill.config import DefeatConfig, DistillConfig
from optimizer.distill.step import DistillStep
from optimizer.quantities import parse_size
from optimizer.recipes import quick
from optimizer.train.loop import Progress
from optimizer.train.precision import autocast_dtype
from optimizer.train.predict import predict
from optimizer.train.steps import DetectionStep, LossStep
from optimizer.trials.jobs import Batches, StudentJob, Teaching, TrainedTeacher, choose_device, train_student

FORWARD = "the teacher's forward pass"
JOINT = {"feature": 1.0, "classification": 1.0, "localization": 1.0}
BOTH = {"defeat": 1.0, "defeat_classes": 1.0}
PAPERS = DefeatConfig()
OBJECTS, BACKGROUND = DefeatConfig(alpha_background=0.0), DefeatConfig(alpha_object=0.0)


def _teach(weights: dict[str, float], defeat: DefeatConfig = PAPERS) -> DistillConfig:
    return DistillConfig(weights=weights, teacher_canvas="student", feature_regions=64, defeat=defeat)


ROWS: dict[str, DistillConfig | None] = {
    "none": None,
    "whole feature": _teach({"whole_feature": 1.0}),
    "anchor mask": _teach({"anchor_mask": 1.0}),
    "Gaussian mask": _teach({"gaussian_mask": 1.0}),
    "objects only": _teach({"defeat": 1.0}, OBJECTS),
    "background only": _teach({"defeat": 1.0}, BACKGROUND),
    "DeFeat": _teach(BOTH),
    "proposal feature": _teach({"feature": 1.0}),
    "Joint-DetNAS' three": _teach(JOINT),
    "DeFeat and the three": _teach({**BOTH, **JOINT}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "cost", "table"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", default="160x120")
    parser.add_argument("--teacher", default="r50", help="family of the teacher (default: r50)")
    parser.add_argument("--student", default="r18")
    parser.add_argument("--region-proposals", type=int, default=300, help="of teacher and student (default: 300)")
    parser.add_argument("--teacher-epochs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=6, help="of each student (default: 6)")
    parser.add_argument("--seeds", default="1,2", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--rows", default=",".join(ROWS), type=lambda text: text.split(","))
    parser.add_argument("--rounds", type=int, default=8, help="of `cost` (default: 8)")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    {"run": do_run, "cost": do_cost, "table": do_table}[arguments.what](arguments)


def choose_archs(arguments: argparse.Namespace) -> tuple[ArchSpec, ArchSpec]:
    """The teacher's and the student's architecture: one canvas, one kind of head."""
    size, proposals = parse_size(arguments.size), arguments.region_proposals
    teacher, student = (
        base_arch(family, size, region_proposals=proposals) for family in (arguments.teacher, arguments.student)
    )
    return teacher, student


def do_run(arguments: argparse.Namespace) -> None:
    teacher = arguments.out / "teacher.safetensors"
    teacher_arch, student_arch = choose_archs(arguments)
    if not teacher.exists():
        train_one(arguments, "teacher", teacher_arch, arguments.teacher_epochs, 0, None)
    for seed in arguments.seeds:
        for row in arguments.rows:
            name = f"{row} {seed}"
            if name in read_rows(arguments.out):
                continue
            config = ROWS[row]
            teaching = None
            if config is not None:
                by = TrainedTeacher(arch=teacher_arch, weights=teacher.resolve())
                teaching = Teaching(teacher=by, distill=config)
            train_one(arguments, name, student_arch, arguments.epochs, seed, teaching)


def train_one(
    arguments: argparse.Namespace,
    name: str,
    arch: ArchSpec,
    epochs: int,
    seed: int,
    teaching: Teaching | None,
) -> None:
    """Train one detector, find its AP on the validation images, keep its weights, and add a line to OUT/rows.jsonl."""
    train_data, val_data = (keep_fitting(read_dataset(arguments.data, split)) for split in ("train", "val"))
    recipe = quick(arguments.data).base_train.model_copy(update={"epochs": epochs})
    job = StudentJob(
        arch=arch, recipe=recipe, batches=Batches(data=arguments.data, size=4, augment="light", workers=0), seed=seed,
        checkpoint=arguments.out / f"{name.replace(' ', '-')}.checkpoint", teaching=teaching,
    )  # fmt: skip
    detector = build_detector(arch, len(train_data.class_names), seed=seed)
    said = time.monotonic()

    def report(at: Progress) -> None:
        nonlocal said
        if time.monotonic() - said > 60:
            said = time.monotonic()
            print(f"{time.strftime('%H:%M:%S')} {name}: {at.step}/{at.total} loss {at.loss:.2f}", flush=True)

    result = train_student(job, detector, train_data, None, choose_device(), report)
    found = predict(detector, val_data.records, Preprocess.imagenet(*arch.input_size), choose_device())
    precision = evaluate_detections(val_data, found)
    for ending, tensors in (("", detector.state_dict()), (".step", result.state.step)):
        whole = {name: value.contiguous() for name, value in tensors.items()}
        save_file(whole, arguments.out / f"{name.replace(' ', '-')}{ending}.safetensors")
    line = {"name": name, "ap": precision.ap, "ap50": precision.ap50, "epochs": epochs, "seed": seed,
            "seconds": result.seconds, "skipped": result.skipped_batches, "curve": result.curve[-1:]}  # fmt: skip
    with (arguments.out / "rows.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    job.checkpoint.unlink(missing_ok=True)
    print(f"{time.strftime('%H:%M:%S')} {name}: AP {precision.ap:.4f} in {result.seconds:.0f} s", flush=True)


def read_rows(out: Path) -> dict[str, Any]:
    path = out / "rows.jsonl"
    return {row["name"]: row for row in map(json.loads, path.read_text().splitlines())} if path.exists() else {}


def do_cost(arguments: argparse.Namespace) -> None:
    """Seconds of a training step of each row, timed in turns, on images of the data set."""
    device, size = choose_device(), parse_size(arguments.size)
    data = keep_fitting(read_dataset(arguments.data, "train"))
    teacher_arch, student_arch = choose_archs(arguments)
    student = build_detector(student_arch, len(data.class_names), seed=1).to(device).train()
    weights = load_file(arguments.out / "teacher.safetensors")
    teacher = load_detector(teacher_arch, len(data.class_names), weights).to(device)
    loader = TrainLoader(data, [Preprocess.imagenet(*size)], batch_size=4, seed=0, augment="light", workers=0)
    images, truths = next(loader.epoch(0))
    images = images.to(device)
    truths = [type(truth)(*(value.to(device) for value in truth)) for truth in truths]
    steps: dict[str, LossStep] = {
        name: DetectionStep() if config is None else DistillStep(student_arch, teacher, config).to(device)
        for name, config in ROWS.items()
    }
    everything = _teach({name: 1.0 for config in ROWS.values() if config is not None for name in config.weights})
    steps["all together"] = DistillStep(student_arch, teacher, everything).to(device)
    dtype = autocast_dtype("auto", device)

    def step(what: LossStep) -> None:
        student.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            loss = torch.stack(list(what(student, images, truths).values())).sum()
        loss.backward()
        loss.item()

    def look() -> None:
        with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype is not None):
            next(iter(teacher.see(images).neck.values())).sum().item()

    def detect() -> None:
        with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype is not None):
            teacher.detect(images)

    parts: dict[str, Callable[[], None]] = {name: lambda what=what: step(what) for name, what in steps.items()}
    parts["the teacher's maps"] = look
    parts[FORWARD] = detect
    seconds = time_rounds(parts, arguments.rounds)
    write_file(arguments.out / "cost.json", (json.dumps(seconds, indent=1) + "\n").encode())
    print(json.dumps({name: median(values) for name, values in seconds.items()}, indent=1))


def do_table(arguments: argparse.Namespace) -> None:
    rows = read_rows(arguments.out)
    cost_path = arguments.out / "cost.json"
    cost = json.loads(cost_path.read_text()) if cost_path.exists() else {}
    middle = {name: median(values) for name, values in cost.items()}
    plain = middle.get("none", 0.0) + middle.get(FORWARD, 0.0)
    lines = [
        "| taught by | AP, mean | AP of each seed | against none | step / (student's + teacher's) |",
        "|---|---|---|---|---|",
    ]
    of = {row: [rows[f"{row} {seed}"]["ap"] for seed in arguments.seeds if f"{row} {seed}" in rows] for row in ROWS}
    for row, found in of.items():
        if found:
            gain = fmean(found) - fmean(of["none"]) if of["none"] else 0.0
            ratio = f"{middle[row] / plain:.2f}" if row in middle and row != "none" else "-"
            each = ", ".join(f"{ap:.3f}" for ap in found)
            lines.append(f"| {row} | {fmean(found):.3f} | {each} | {gain:+.3f} | {ratio} |")
    if "all together" in middle:
        lines.append(f"| all of the above together (cost alone) | - | - | - | {middle['all together'] / plain:.2f} |")
    if "teacher" in rows:
        lines += ["", f"The teacher: AP {rows['teacher']['ap']:.3f} after {rows['teacher']['epochs']} epochs."]
    text = "\n".join(lines)
    print(text)
    if arguments.report is not None:
        raw = {"rows": rows, "cost_s": cost}
        arguments.report.with_suffix(".json").write_text(json.dumps(raw, indent=1) + "\n")
        arguments.report.write_text(text + "\n")


if __name__ == "__main__":
    main()
