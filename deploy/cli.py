"""`deploy ...`: run, evaluate and measure what a search has made. Parses and prints; the work is done elsewhere."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence, Tuple

from deploy.bundle import Bundle, open_bundle
from deploy.engines import open_engine
from deploy.errors import DeployError, InputError, MeasurementError
from deploy.latency import Comparison, LatencyRecord, compare
from deploy.pipeline.detector import Detector
from deploy.pipeline.preprocess import Preprocess
from deploy.pipeline.sources import iterate_images
from deploy.protocols import PROTOCOLS
from deploy.targets import TARGETS, get_target
from deploy.timing import Subject

__all__ = ["build_parser", "main"]

EXAMPLES = """examples:
  deploy run runs/demo/bundles/student street.jpg photos/ --out drawn
  deploy run runs/demo/bundles/student photos/ --json > found.jsonl
  deploy evaluate runs/demo/bundles/student --data path/to/coco
  deploy measure runs/demo/bundles/student --base runs/demo/bundles/base --images photos/
  deploy measure any_model.onnx --level final --json
  deploy compare runs/demo/bundles/student runs/demo/bundles/base

exit codes: 0 done, 1 failed, 2 the input is wrong, 130 interrupted"""


def main(arguments: Optional[Sequence[str]] = None) -> NoReturn:
    """Entry point: errors are one line on stderr and an exit code."""
    options = build_parser().parse_args(arguments)
    try:
        options.work(options)
        sys.stdout.flush()
    except DeployError as error:
        _stop(str(error), error.exit_code)
    except KeyboardInterrupt:
        _stop("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # a defect of ours: one line all the same, and the place by request
        if options.debug:
            raise
        _stop("unexpected {}: {} (--debug shows where)".format(type(error).__name__, error), 1)
    sys.exit(0)


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = _Parser(
        prog="deploy",
        description="Put a detector on a device: run it, evaluate it, measure it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = _add_command(commands, "run", run_bundle, "find objects in images and folders of images")
    run.add_argument("bundle", help="folder of a bundle")
    run.add_argument("images", nargs="+", metavar="IMAGE", type=Path, help="image file, or folder of images")
    run.add_argument("--out", type=Path, metavar="DIR", help="write a picture with the objects drawn, for each image")
    run.add_argument("--score", type=_share, default=0.3, help="leave out objects below this score (default: 0.3)")
    run.add_argument("--threads", type=_count, help="CPU threads (default: the physical cores)")
    _add_json(run, "print one JSON object a line, for each image")

    evaluate = _add_command(commands, "evaluate", evaluate_bundle, "average precision on labelled images")
    evaluate.add_argument("bundle", help="folder of a bundle")
    evaluate.add_argument("--data", type=Path, required=True, help="folder in COCO, Pascal VOC or YOLO layout")
    evaluate.add_argument("--split", default="val", choices=("train", "val", "all"), help="default: val")
    _add_json(evaluate, "print JSON")

    measure = _add_command(
        commands, "measure", measure_model, "latency of a bundle or of any ONNX model of fixed shapes"
    )
    measure.add_argument("model", metavar="BUNDLE|MODEL.onnx", help="what to time")
    measure.add_argument(
        "--base", metavar="OTHER", help="a second model, timed in turns with the first; prints the ratio"
    )
    _add_measuring(measure)

    both = _add_command(commands, "compare", compare_bundles, "two bundles side by side, timed in turns")
    both.add_argument("first", metavar="BUNDLE", help="folder of a bundle")
    both.add_argument("second", metavar="BUNDLE", help="folder of the bundle it is compared with")
    _add_measuring(both)

    targets = _add_command(commands, "targets", list_targets, "the devices this release knows, and whether they work")
    _add_json(targets, "print JSON")
    return parser


def run_bundle(options: argparse.Namespace) -> None:
    bundle = _open_runnable(options.bundle)
    names = _OutputNames(options.out)
    unread = 0

    def report(line: str) -> None:
        nonlocal unread
        unread += 1
        print("deploy: {} (skipped)".format(line), file=sys.stderr)

    with Detector(bundle, options.threads) as detector:
        for path, image in iterate_images(options.images, report):
            found, timings = detector.detect_timed(image)
            found = found.above(options.score)
            objects = found.to_json(bundle.class_names)
            drawn = names.take(path)
            if drawn is not None:
                _write_picture(drawn, image, found, bundle)
            if options.json:
                line: Dict[str, Any] = {"image": str(path), "width": image.shape[1], "height": image.shape[0]}
                line.update(objects=objects, pre_ms=round(timings.pre_ms, 3), infer_ms=round(timings.infer_ms, 3))
                print(json.dumps(line), flush=True)
                continue
            times = "{:.1f} ms and {:.1f} ms before it".format(timings.infer_ms, timings.pre_ms)
            print("{}: {} ({})".format(path, _plural(len(objects), "object"), times), flush=True)
            for item in objects:
                print("  {} {:.2f} at [{}]".format(item["class"], item["score"], ", ".join(map(str, item["box_xyxy"]))))
    if unread:
        print("deploy: {} could not be read".format(_plural(unread, "image")), file=sys.stderr)


def evaluate_bundle(options: argparse.Namespace) -> None:
    bundle = _open_runnable(options.bundle)
    try:
        from deploy.evaluation import evaluate_detector
    except ImportError as error:
        raise InputError(
            "evaluating needs the whole package with its dependencies, not a board's: {}".format(error)
        ) from error
    precision, images, skipped = evaluate_detector(bundle, options.data, options.split, _show_progress)
    values = {"bundle": str(bundle.folder), "split": options.split, "images": images, "skipped_images": skipped}
    if options.json:
        print(json.dumps({**values, **precision}, indent=2))
        return
    print("{} images of {}, {} skipped".format(images, options.data, skipped))
    for name, value in precision.items():
        if not isinstance(value, dict):
            print("  {:<10} {}".format(name, "-" if value is None else "{:.4f}".format(value)))


def measure_model(options: argparse.Namespace) -> None:
    models = [("model", options.model)] + ([("base", options.base)] if options.base else [])
    records = _measure(models, options)
    comparison = compare(records["model"], records["base"]) if options.base else None
    if options.json:
        output: Dict[str, Any] = {name: record.to_json() for name, record in records.items()}
        print(json.dumps({**output, "ratio_to_base": _comparison_json(comparison)} if comparison else output, indent=2))
        return
    for name, path in models:
        _print_record(path, records[name])
    if comparison:
        print(_describe_comparison(comparison, "the base's"))


def compare_bundles(options: argparse.Namespace) -> None:
    bundles = {"first": open_bundle(options.first), "second": open_bundle(options.second)}
    records = _measure([("first", options.first), ("second", options.second)], options)
    comparison = compare(records["first"], records["second"])
    if options.json:
        output = {
            name: {"bundle": str(bundle.folder), "name": bundle.manifest.name, "arch_id": bundle.manifest.arch_id,
                   "metrics": dict(bundle.manifest.metrics), "latency": records[name].to_json()}
            for name, bundle in bundles.items()
        }  # fmt: skip
        print(json.dumps({**output, "ratio": _comparison_json(comparison)}, indent=2))
        return
    rows = [("", *(bundle.manifest.name for bundle in bundles.values()))]
    rows.append(("canvas", *("{0.width}x{0.height}".format(bundle.preprocess) for bundle in bundles.values())))
    for key in sorted({key for bundle in bundles.values() for key in bundle.manifest.metrics}):
        values = [bundle.manifest.metrics.get(key) for bundle in bundles.values()]
        if all(isinstance(value, (int, float, type(None))) for value in values):
            rows.append((key, *("-" if value is None else "{:.4g}".format(value) for value in values)))
    rows.append(("model, MB", *("{:.1f}".format(bundle.model.stat().st_size / 1e6) for bundle in bundles.values())))
    rows.append(("median, ms", *("{:.2f}".format(records[name].median_ms) for name in bundles)))
    for row in rows:
        print("{:<14} {:>20} {:>20}".format(*row))
    print(_describe_comparison(comparison, "the second's"))


def list_targets(options: argparse.Namespace) -> None:
    targets = [get_target(name) for name in sorted(TARGETS)]
    if options.json:
        print(json.dumps({target.spec.name: target.check() for target in targets}, indent=2))
        return
    for target in targets:
        print("{}  {}".format(target.spec.name, target.spec.description))
        for line in target.check():
            print("  " + line)


def _measure(models: Sequence[Tuple[str, str]], options: argparse.Namespace) -> Dict[str, LatencyRecord]:
    target = get_target(options.target)
    subjects = {name: _read_subject(path, bool(options.images)) for name, path in models}
    for subject in subjects.values():  # what cannot be loaded is said before anything is timed
        open_engine(subject.model, 1, target.spec.engine).close()
    records = {}
    for name, measured in target.measure(subjects, options.images or (), options.level, report=_show_progress).items():
        if not isinstance(measured, LatencyRecord):
            raise MeasurementError("{} could not be measured: {}".format(measured.model, measured.reason))
        records[name] = measured
    _clear_progress()
    return records


def _read_subject(path: str, with_images: bool) -> Subject:
    """A bundle, or a bare model; images reach the latter by its canvas, with values 0 to 255."""
    if Path(path).is_dir() or Path(path).name == "bundle.json":
        return Subject.of(open_bundle(path))
    if not with_images:
        return Subject(Path(path))
    with open_engine(path, 1) as engine:
        inputs = engine.inputs
    shape = inputs[0].shape
    if len(inputs) != 1 or len(shape) != 4 or shape[:2] != (1, 3) or None in shape or inputs[0].dtype != "float32":
        found = ", ".join(map(str, inputs))
        raise InputError(
            "{} takes no image [1, 3, height, width] float32 but {}; leave --images out".format(path, found)
        )
    return Subject(Path(path), Preprocess(int(shape[3] or 0), int(shape[2] or 0)))


def _open_runnable(path: str) -> Bundle:
    if Path(path).is_file() and Path(path).name != "bundle.json":
        raise InputError(
            "{} is a bare model: it does not say how an image is prepared for it or what its outputs mean, so it can be "
            "measured (`deploy measure`) but not run; give a bundle's folder, such as `optimize` writes".format(path)
        )
    return open_bundle(path)


def _write_picture(path: Path, image: Any, found: Any, bundle: Bundle) -> None:
    from PIL import Image

    from deploy.pipeline.draw import draw_detections

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_detections(image, found, bundle.class_names)).save(str(path))
    except OSError as error:
        raise DeployError("the picture {} could not be written: {}".format(path, error)) from error


class _OutputNames:
    """A name for each picture; of two images with one name the later gets a number."""

    def __init__(self, folder: Optional[Path]) -> None:
        self._folder = folder
        self._taken: Dict[str, int] = {}

    def take(self, image: Path) -> Optional[Path]:
        if self._folder is None:
            return None
        number = self._taken[image.stem] = self._taken.get(image.stem, 0) + 1
        return self._folder / ("{}.png".format(image.stem) if number == 1 else "{}-{}.png".format(image.stem, number))


def _print_record(path: str, record: LatencyRecord) -> None:
    low, high = record.ci95_ms
    print("{}: median {:.3f} ms, 95 % interval {:.3f} to {:.3f}".format(path, record.median_ms, low, high))
    spread = [record.percentile_ms(percent) for percent in (0, 90, 99, 100)]
    print("  min {:.3f}, p90 {:.3f}, p99 {:.3f}, max {:.3f}, mean {:.3f}".format(*spread, record.mean_ms))
    if record.pre_ms is not None and record.total_ms is not None:
        print("  preprocessing {:.3f} ms, together {:.3f} ms".format(record.pre_ms, record.total_ms))
    runs, warm = _plural(len(record.samples_ms), "run"), sum(item.runs for item in record.warm_up)
    print("  {} in {} ({}), after {} of warm-up; level {}".format(
        runs, _plural(len(record.windows_ms), "window"), record.bound, warm, record.level))  # fmt: skip
    device = record.device
    print("  fed with {}; {}, {}, on {}".format(
        record.feeds, device.runtime, _plural(device.threads, "thread"), device.cpu))  # fmt: skip
    print("  canary drift {:.1%}".format(max(item.drift for item in record.canaries)))
    for flag in record.flags:
        print("  note: {}".format(flag))


def _comparison_json(comparison: Comparison) -> Dict[str, Any]:
    return {
        "ratio": round(comparison.ratio, 4),
        "ci95": [round(value, 4) for value in comparison.ci95],
        "different": comparison.different,
    }


def _describe_comparison(comparison: Comparison, other: str) -> str:
    verdict = "they differ" if comparison.different else "no difference can be claimed"
    return "latency is {:.3f} of {} (95 % interval {:.3f} to {:.3f}): {}".format(
        comparison.ratio, other, comparison.ci95[0], comparison.ci95[1], verdict
    )


def _show_progress(line: str) -> None:
    if sys.stderr.isatty():
        print("\r\033[K{}".format(line[:100]), end="", file=sys.stderr, flush=True)


def _clear_progress() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _stop(text: str, code: int) -> NoReturn:
    _clear_progress()
    print("deploy: {}".format(text), file=sys.stderr)
    sys.exit(code)


def _plural(count: int, noun: str) -> str:
    return "{} {}{}".format(count, noun, "" if count == 1 else "s")


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("a score lies between 0 and 1, not {}".format(text))
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1, not {}".format(text))
    return value


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, like every other error."""
        print("{}: {} (see {} --help)".format("deploy", message, self.prog), file=sys.stderr)
        sys.exit(2)


def _add_command(
    commands: Any, name: str, work: Callable[[argparse.Namespace], None], summary: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(work=work)
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    return parser


def _add_json(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--json", action="store_true", help=text)


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    levels: List[str] = list(PROTOCOLS)
    parser.add_argument("--target", default="cpu", help="a known target or its TOML file (default: cpu)")
    parser.add_argument("--images", type=Path, nargs="+", metavar="PATH", help="feed these images (default: noise)")
    parser.add_argument("--level", default="screen", choices=levels, help="how thoroughly (default: screen)")
    _add_json(parser, "print the whole records as JSON")
