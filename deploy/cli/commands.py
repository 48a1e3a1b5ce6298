"""What each `deploy` command does and prints."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Sequence

from deploy.builders.build import prepare_model
from deploy.bundles.adopt import ModelStatement, adopt_model, find_canvas_size, read_class_names, require_trust
from deploy.bundles.bundle import Bundle, is_bundle, open_bundle, read_manifest
from deploy.bundles.signature import sign_manifest
from deploy.cli.terminal import (
    comparison_json,
    describe_comparison,
    describe_frame,
    plural,
    print_record,
    report_line,
    show_progress,
    show_steps,
)
from deploy.engines import open_engine
from deploy.engines.base import check_model_file
from deploy.errors import DeployError, InputError, MeasurementError, OutputError, SourceError
from deploy.foreign import make_printable
from deploy.measuring.record import LatencyRecord, compare
from deploy.packs import write_pack
from deploy.pipeline.annotate import AnnotatedFolder
from deploy.pipeline.decode import Head, check_labels
from deploy.pipeline.detector import Detector
from deploy.pipeline.model import ModelSource
from deploy.pipeline.preprocess import Preprocess
from deploy.pipeline.sources import Source, iterate_frames, list_sources
from deploy.targets import LINKS, TARGETS, Target, describe_conditions, get_target, read_target, require_working

__all__ = [
    "adopt_bundle",
    "check_target",
    "choose_target",
    "compare_bundles",
    "convert_bundle",
    "list_targets",
    "measure_model",
    "open_runnable",
    "pack_bundle",
    "run_bundle",
    "serve_requests",
    "sign_bundle",
]


def adopt_bundle(options: argparse.Namespace) -> None:
    """A bundle of a model from elsewhere, of what its file says and what the options add."""
    names = read_class_names(options.classes)

    def prepare(head: Head, width: int, height: int) -> Preprocess:
        usual = head.usual_preprocess(width, height)
        return replace(
            usual,
            order=options.order or usual.order,
            mean=tuple(options.mean or usual.mean),
            std=tuple(options.std or usual.std),
            pad=tuple(options.pad or usual.pad),
            antialias=options.antialias,
        )

    stated = ModelStatement(names, options.head, prepare, options.max_detections)
    bundle = adopt_model(options.model, options.out, stated, options.trust, report_line)
    preprocess = bundle.preprocess
    canvas, classes = f"{preprocess.width}x{preprocess.height}", plural(len(names), "class", "classes")
    print(f"{bundle.folder}: head {bundle.head}, {canvas} {preprocess.order}, {classes}")


def run_bundle(options: argparse.Namespace) -> None:
    """Objects in every image and frame: text or one JSON object for each as it is done, drawn ones with ``--out``."""
    bundle = open_runnable(options)
    sources, errors = _list_each(options.sources)
    total = len(sources) + len(errors)
    _raise_for(errors, 0 if sources else total)
    spec = choose_target(options).spec
    engine = spec.engine
    if spec.link.kind != "local":
        raise InputError(
            f"{options.target} is reached by {spec.link.kind}; run shows what this machine sees: copy the bundle "
            "there, and run it there"
        )
    with ExitStack() as stack:
        model = ModelSource.of(bundle, prepare_model(bundle.model, engine.name))
        detector = stack.enter_context(Detector(model, engine.threads, engine.name))
        drawn = None
        if options.out is not None:
            drawn = stack.enter_context(
                AnnotatedFolder(options.out, bundle.class_names, report_line, options.every, sources)
            )
        left = options.max_frames
        for source in sources:  # one that fails is a line, and the next one is run
            try:
                with closing(iterate_frames([source], report_line, options.every)) as frames:
                    for frame in islice(frames, left):
                        found, timings = detector.detect_timed(frame.image)
                        found = found.above(options.score)
                        check_labels(found, bundle.class_names)
                        if drawn is not None:
                            drawn.write(frame, found)
                        print(describe_frame(frame, found, timings, bundle, options.json), flush=True)
                        left = None if left is None else left - 1
                        del frame  # one at a time: before the next one is decoded
                if drawn is not None:
                    drawn.close()
            except (InputError, SourceError, OutputError) as error:
                errors.append(error)
                if drawn is not None:
                    with suppress(OutputError):
                        drawn.close()
                if len(sources) > 1:
                    report_line(f"{error} (skipped)")
            if left == 0:
                break
    _raise_for(errors, total)


def _list_each(names: Sequence[str]) -> tuple[list[Source], list[DeployError]]:
    """What each name stands for, and why some stand for nothing; of one alone that is raised."""
    sources: list[Source] = []
    errors: list[DeployError] = []
    for name in names:
        try:
            sources += list_sources([name])
        except InputError as error:
            errors.append(error)
            if len(names) > 1:
                report_line(f"{error} (skipped)")
    return sources, errors


def _raise_for(errors: Sequence[DeployError], total: int) -> None:
    """What a run of so many sources ends with: of none that worked the first reason, of a few that did not, how many.

    Nothing, where there is no error, or no source that could be counted.
    """
    if errors and len(errors) == total:
        rest = "" if total == 1 else f" (and none of the other {total - 1})"
        raise type(errors[0])(f"{errors[0]}{rest}")
    if errors and total:
        raise SourceError(f"{len(errors)} of {total} sources could not be read or drawn")


def convert_bundle(options: argparse.Namespace) -> None:
    """A bundle in another precision, with the average precision of that very artefact."""
    from deploy.convert import ConversionLimits, convert

    bundle = open_runnable(options)
    out = options.out or bundle.folder.resolve().parent / f"{bundle.folder.resolve().name}-{options.precision}"
    limits = ConversionLimits(options.max_ap_drop, options.images)
    try:
        written, conversion = convert(
            bundle, options.precision, options.data, out, choose_target(options), limits, show_steps
        )
    except ImportError as error:
        raise InputError(
            f"converting needs onnx, onnxruntime and pycocotools ({error}): python3 -m pip install them"
        ) from error
    show_progress("")
    if options.json:
        print(json.dumps({"bundle": str(written.folder), **conversion.to_json()}, indent=2))
        return
    print(
        f"{written.folder}: {conversion.precision}, AP {conversion.ap:.4f}, and {conversion.ap_fp32:.4f} in fp32 "
        f"({-conversion.drop:+.4f})"
    )
    groups = plural(conversion.groups, "group of layers", "groups of layers")
    print(f"  {groups} converted, calibrated on {plural(conversion.images, 'image')}")
    for name in conversion.put_back:
        rest = conversion.rest if conversion.rest == "fp32" else conversion.rest + " (fp32 if its values are wide)"
        print(f"  back in {rest}: {name}")


def pack_bundle(options: argparse.Namespace) -> None:
    """A bundle as the folder that another server loads; says how it is started, and what is not as in the bundle."""
    packed = write_pack(open_runnable(options), options.consumer, options.out)
    print(f"{options.out}: for {options.consumer}, which never loaded it here; README.txt says more")
    print(f"  {packed.start}")
    for note in packed.notes:
        print(f"  {note}")


def sign_bundle(options: argparse.Namespace) -> None:
    """A signature of a bundle, after every hash in it was compared."""
    bundle = open_bundle(options.bundle)
    place = sign_manifest(bundle.folder, read_manifest(bundle.folder), options.key)
    print(f"{place}: signed with {options.key}")


def measure_model(options: argparse.Namespace) -> None:
    """The latency of one model, and its ratio to a base timed in the same lease."""
    models = [("model", options.model)] + ([("base", options.base)] if options.base else [])
    records = _measure(models, options, options.trust)
    comparison = compare(records["model"], records["base"]) if options.base else None
    if options.json:
        output: dict[str, Any] = {name: record.to_json() for name, record in records.items()}
        print(json.dumps({**output, "ratio_to_base": comparison_json(comparison)}, indent=2))
        return
    for name, path in models:
        print_record(path, records[name])
    if comparison:
        print(describe_comparison(comparison, "the base's"))


def compare_bundles(options: argparse.Namespace) -> None:
    """Two bundles side by side: what they say about themselves, and their latencies of one lease."""
    bundles = {name: open_bundle(getattr(options, name), options.require_signature) for name in ("first", "second")}
    records = _measure([("first", options.first), ("second", options.second)], options)
    comparison = compare(records["first"], records["second"])
    if options.json:
        output: dict[str, Any] = {
            name: {"bundle": str(bundle.folder), "name": bundle.manifest.name, "arch_id": bundle.manifest.arch_id,
                   "metrics": dict(bundle.manifest.metrics), "latency": records[name].to_json()}
            for name, bundle in bundles.items()
        }  # fmt: skip
        print(json.dumps({**output, "ratio": comparison_json(comparison)}, indent=2))
        return
    rows = [["", *(make_printable(bundle.manifest.name) for bundle in bundles.values())]]
    rows.append(["canvas", *(f"{bundle.preprocess.width}x{bundle.preprocess.height}" for bundle in bundles.values())])
    for key in sorted({key for bundle in bundles.values() for key in bundle.manifest.metrics}):
        values = [bundle.manifest.metrics.get(key) for bundle in bundles.values()]
        if all(value is None or isinstance(value, (int, float)) for value in values):
            rows.append([make_printable(key), *("-" if value is None else f"{value:.4g}" for value in values)])
    rows.append(["model, MB", *(f"{bundle.model.stat().st_size / 1e6:.1f}" for bundle in bundles.values())])
    rows.append(["median, ms", *(f"{records[name].median_ms:.2f}" for name in bundles)])
    for row in rows:
        print("{:<14} {:>20} {:>20}".format(*row))
    print(describe_comparison(comparison, "the second's"))


def list_targets(options: argparse.Namespace) -> None:
    """Every known target, and whether it can be used from here; boards are not contacted."""
    for name in sorted(TARGETS):
        description = read_target(name).description
        try:
            target = get_target(name)
            link = target.spec.link
            local = link.kind == "local"
            lines = describe_conditions(name, target.check()) if local else ["host: " + link.host]
        except InputError as error:
            lines = [f"not usable: {error}"]
        if options.json:
            print(json.dumps({"target": name, "description": description, "check": lines}))
        else:
            print("\n  ".join([f"{name}: {description}", *lines]))


def check_target(options: argparse.Namespace) -> None:
    """All that was found on one target; an `InputError` where a measurement would not work."""
    conditions = get_target(options.target, options.host).check()
    if options.json:
        print(json.dumps({"target": options.target, "conditions": [item._asdict() for item in conditions]}, indent=2))
    else:
        print("\n  ".join(describe_conditions(options.target, conditions)))
    require_working(options.target, conditions)


def serve_requests(options: argparse.Namespace) -> None:
    """The board's side of a link, until its client goes."""
    from deploy.targets.agent import serve

    serve(options.cache)


def choose_target(options: argparse.Namespace) -> Target:
    """The target that is named, on as many threads as are asked for."""
    target = get_target(options.target, options.host)
    if options.threads is None:
        return target
    spec = replace(target.spec, engine=replace(target.spec.engine, threads=options.threads))
    return LINKS[spec.link.kind](spec)


def _measure(
    models: Sequence[tuple[str, str]], options: argparse.Namespace, trust: bool = False
) -> dict[str, LatencyRecord]:
    target = get_target(options.target, options.host)
    signers = options.require_signature
    subjects = {name: _read_subject(path, bool(options.images), trust, signers) for name, path in models}
    require_working(options.target, target.check())
    reader = target.spec.engine.name if target.spec.link.kind == "local" else "ort"  # a board's engine is on the board
    for subject in subjects.values():  # what cannot be loaded or fed is said before anything is timed
        with open_engine(prepare_model(subject.model, reader), 1, reader) as engine:
            if any(None in spec.shape for spec in engine.inputs):
                inputs = ", ".join(map(str, engine.inputs))
                raise InputError(
                    f"{subject.model} has inputs with a dynamic shape: {inputs}; "
                    "export it with a fixed shape to measure it"
                )
    records = {}
    for name, measured in target.measure(subjects, options.images or (), options.level, report=show_progress).items():
        if not isinstance(measured, LatencyRecord):
            raise MeasurementError(f"{measured.model} could not be measured: {measured.reason}")
        records[name] = measured
    show_progress("")
    return records


def _read_subject(path: str, with_images: bool, trust: bool, signers: Path | None) -> ModelSource:
    """A bundle, or a bare model; images reach the latter on a canvas of its size, with values 0 to 255."""
    if is_bundle(path):
        return open_bundle(path, signers)
    require_trust(check_model_file(path, "ONNX model"), trust, signers)
    if not with_images:
        return ModelSource(Path(path))
    with open_engine(path, 1) as engine:
        inputs = engine.inputs
    size = find_canvas_size(inputs)
    if size is None:
        taken = ", ".join(map(str, inputs))
        raise InputError(
            f"{path} takes {taken}, not one image [1, 3, height, width] float32; leave --images out to feed it noise"
        )
    return ModelSource(Path(path), Preprocess(*size))


def open_runnable(options: argparse.Namespace) -> Bundle:
    """The bundle that is named, signed if that is asked for; of a bare model an `InputError` says how to make one."""
    path = options.bundle
    if Path(path).is_file() and not is_bundle(path):
        raise InputError(
            f"{path} is not a bundle's folder; a bare model does not say how an image is prepared for it or what its "
            f"outputs mean: say so once with deploy adopt {path}, or time it with deploy measure {path}"
        )
    return open_bundle(path, options.require_signature)
