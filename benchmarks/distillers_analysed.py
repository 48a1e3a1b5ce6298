"""The analyses of the students that distillers_compared.py trained: mistakes, distances to the teacher, gradients.

    python benchmarks/distillers_analysed.py --data ../shared/data/bccd --size 160x120 --out runs/distillers --seed 1

Writes OUT/analyses: index.html with the charts and pictures of all students, a page of COCO's error analysis for each,
and analyses.json; and prints a table, which `--report` keeps with the JSON beside it. Nothing is timed.
"""

from __future__ import annotations

import argparse
import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from distillers_compared import ROWS, choose_archs
from safetensors.torch import load_file

from deploy import Preprocess
from deploy.data import Dataset, keep_fitting, read_dataset
from deploy.error_analysis import analyse_errors, write_page
from deploy.evaluate import evaluate_detections
from deploy.files import write_file
from optimizer.detectors import Detector, load_detector
from optimizer.distill.adapters import MapAdapters
from optimizer.distill.config import DistillConfig
from optimizer.distill.distances import measure_distances
from optimizer.distill.step import DistillStep
from optimizer.report.analysis import Analysed, draw_distances, draw_losses
from optimizer.report.library import write_library
from optimizer.run.gradient_pictures import draw_gradients, place_records
from optimizer.train.predict import predict
from optimizer.trials.jobs import choose_device

LOSSES = ("Loc", "Sim", "Oth", "BG", "FN")
STYLE = "body{font:14px system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem} img{width:19rem;margin:0 1rem 0 0}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="of `distillers_compared.py run`")
    parser.add_argument("--size", default="160x120")
    parser.add_argument("--teacher", default="r50")
    parser.add_argument("--student", default="r18")
    parser.add_argument("--region-proposals", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1, help="whose students (default: 1)")
    parser.add_argument("--images", type=int, default=20, help="for distances (default: 20)")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    place = arguments.out / "analyses"
    place.mkdir(exist_ok=True)
    data = keep_fitting(read_dataset(arguments.data, "val"))
    teacher_arch, student_arch = choose_archs(arguments)
    classes = len(data.class_names)
    teacher = load_detector(teacher_arch, classes, load_file(arguments.out / "teacher.safetensors"))
    models = {"teacher": find_errors(place, "teacher", teacher, data)}
    for row, config in ROWS.items():
        name = f"{row} {arguments.seed}".replace(" ", "-")
        weights = arguments.out / f"{name}.safetensors"
        if weights.exists():
            student = load_detector(student_arch, classes, load_file(weights))
            kept = load_file(arguments.out / f"{name}.step.safetensors") if config else {}
            models[row] = analyse(place, name, student, teacher, data, config, kept, arguments.images)
            print(f"{row}: analysed", flush=True)
    write_file(place / "analyses.json", (json.dumps(models, indent=1) + "\n").encode())
    write_index(place, Analysed(arguments.images, arguments.teacher, models, place))
    text = tabulate(models)
    print(text)
    if arguments.report is not None:
        arguments.report.write_text(text + "\n")
        arguments.report.with_suffix(".json").write_text(json.dumps(models, indent=1) + "\n")


def analyse(
    place: Path,
    name: str,
    student: Detector,
    teacher: Detector,
    data: Dataset,
    config: DistillConfig | None,
    kept: Mapping[str, Any],
    images: int,
) -> dict[str, Any]:
    """The three analyses of one student; the last two only where it was taught."""
    found = find_errors(place, name, student, data)
    device, adapters = choose_device(), None
    if config is not None:
        step = DistillStep(student.arch, teacher, config)
        step.load_state_dict(dict(kept))
        adapters = dict(step.adapters.items()).get("neck")
        assert adapters is None or isinstance(adapters, MapAdapters)
        found["gradients"] = draw_gradients(step, student, data.records, place, name, device)
    distances = measure_distances(student, teacher, place_records(data.records[:images], student), device, adapters)
    found["distances"] = {"objects": distances.objects, "background": distances.background}
    found["adapted"] = adapters is not None
    return found


def find_errors(place: Path, name: str, detector: Detector, data: Dataset) -> dict[str, Any]:
    detector.eval()
    found = list(predict(detector, data.records, Preprocess.imagenet(*detector.arch.input_size), choose_device()))
    errors = analyse_errors(data, found)
    write_page(place / f"errors-{name}.html", errors, f"Errors of {name}", f"{len(data.records)} validation images")
    return {"ap": evaluate_detections(data, found).ap, "errors": errors.to_json()}


def tabulate(models: Mapping[str, dict[str, Any]]) -> str:
    """Means over channels, ratios of the gradient in objects to that outside, and what mistakes cost at IoU 0.5."""
    lines = [
        "| taught by | AP | distance in objects | in background | adapter | gradient, objects / background | "
        + " | ".join(LOSSES) + " |",
        "|---" * (6 + len(LOSSES)) + "|",
    ]  # fmt: skip
    for name, model in models.items():
        far = model.get("distances")
        means = [f"{fmean(far[where]):.3f}" for where in ("objects", "background")] if far else ["-", "-"]
        ratios = [picture["objects_over_background"] for picture in model.get("gradients", [])]
        known = [ratio for ratio in ratios if ratio is not None]
        pull = f"{fmean(known):.1f}" if known else "-"
        losses = model["errors"]["overall"]["areas"]["all"]["losses"]
        adapted = {True: "yes", False: "no", None: "-"}[model.get("adapted")]
        lines.append(f"| {name} | {model['ap']:.3f} | {means[0]} | {means[1]} | {adapted} | {pull} | "
                     + " | ".join(f"{losses[kind]:.3f}" for kind in LOSSES) + " |")  # fmt: skip
    return "\n".join(lines)


def write_index(place: Path, analysed: Analysed) -> None:
    """One page of all charts and pictures, for a look; it needs nothing but itself."""
    pictures = "".join(
        f'<figure><img src="data:image/png;base64,{base64.b64encode(picture).decode()}"'
        f' alt=""><figcaption>{html.escape(caption)}</figcaption></figure>'
        for caption, picture in analysed.pictures
    )
    page = (
        f'<!doctype html><meta charset="utf-8"><title>Distillers, analysed</title><style>{STYLE}</style>'
        f'<h1>Which mistakes cost what</h1><p id="undrawn">The charts are being drawn.</p>{draw_losses(analysed)}'
        f"<h1>How near to the teacher</h1>{draw_distances(analysed)}<h1>Where the teacher pulls</h1>{pictures}"
        f"{write_library()}"
    )
    write_file(place / "index.html", page.encode())


if __name__ == "__main__":
    main()
