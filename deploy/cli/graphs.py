"""What the commands `check` and `build` do with a graph: what releases take of it, and plans that are built of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Sequence

from deploy.builders.build import prepare_model
from deploy.builders.compatibility import VERSIONS, check_model, fits_release, opset_of, read_model
from deploy.builders.compatibility_report import describe_findings, findings_json
from deploy.builders.offline import GPUS, describe_verdict, try_builds
from deploy.builders.plans import EFFORTS
from deploy.bundles.adopt import require_trust
from deploy.bundles.bundle import is_bundle, open_bundle
from deploy.cli.terminal import plural
from deploy.engines import get_engine, open_engine
from deploy.engines.base import check_model_file
from deploy.engines.plan import Plan, read_plan
from deploy.errors import CompatibilityError, InputError
from deploy.targets import get_target

__all__ = ["build_plan", "check_compatibility"]


def check_compatibility(options: argparse.Namespace) -> None:
    """What TensorRT releases are documented not to take of a model; `CompatibilityError` where something is."""
    if options.build:
        check_build(options)
        return
    is_bare = not is_bundle(options.model) and options.require_signature is None  # it is read, and not executed
    model = read_model(options.model if is_bare else _find_model(options))
    versions = (options.tensorrt,) if options.tensorrt else VERSIONS
    findings = {version: check_model(model, version) for version in versions}
    opset, nodes = opset_of(model), len(model.graph.node)
    if options.json:
        about = {"model": options.model, "opset": opset, "nodes": nodes}
        print(json.dumps({**about, "tensorrt": findings_json(findings)}, indent=2))
    else:
        title = f"{options.model}: opset {opset}, {plural(nodes, 'node')}"
        print(describe_findings(title, findings))
    refusing = [version for version, found in findings.items() if not fits_release(found)]
    if refusing:
        raise CompatibilityError(f"{options.model} does not fit TensorRT {', '.join(refusing)}")


def check_build(options: argparse.Namespace) -> None:
    """What TensorRT for RTX builds of a model for GPUs that need not be here; `CompatibilityError` if it refuses."""
    verdicts = []
    for verdict in try_builds(_find_model(options), options.gpus or GPUS):
        verdicts.append(verdict)
        if not options.json:
            print(describe_verdict(verdict), flush=True)
    if options.json:
        print(json.dumps({"model": options.model, "builds": [verdict._asdict() for verdict in verdicts]}, indent=2))
    refused = [verdict.gpu for verdict in verdicts if verdict.record is None]
    if refused:
        raise CompatibilityError(f"{options.model}: TensorRT for RTX builds nothing for {', '.join(refused)}")


def build_plan(options: argparse.Namespace) -> None:
    """The plan of a model for this machine, which is opened once, or for named GPUs; what is known of each."""
    engine_name = options.engine
    if options.target is not None:
        spec = get_target(options.target).spec
        engine_name = spec.engine.name
        if spec.link.kind != "local":
            raise InputError(f"target {options.target!r} is another machine: run deploy build there")
    gpus: list[str | None] = list(options.gpus or (None,))
    if get_engine(engine_name).read_platform(gpus[0]) is None:
        raise InputError(f"engine {engine_name!r} executes the ONNX file itself; there is nothing to build")
    model = _find_model(options)
    for gpu in gpus:
        plan = read_plan(prepare_model(model, engine_name, EFFORTS[options.level], options.out, gpu))
        runtime, notes = f"{plan.key.platform.library} {plan.key.platform.tensorrt}", plan.record["labels"]
        if gpu is None:
            with open_engine(plan.path, engine=engine_name) as engine:
                runtime, notes = engine.runtime, engine.notes
        if options.json:
            about = {"plan": str(plan.path), "runtime": runtime, "notes": notes, **({"gpu": gpu} if gpu else {})}
            print(json.dumps({**about, **plan.record}, indent=2))
        else:
            _print_plan(plan, runtime if gpu is None else f"{runtime} for {gpu}", notes)


def _print_plan(plan: Plan, runtime: str, notes: Sequence[str]) -> None:
    record = plan.record
    print(f"{plan.path}: {record['precision']} by {runtime}")
    layers = ", ".join(f"{count} {name}" for name, count in record["layers_by_precision"].items())
    size_mb, seconds = record["engine_bytes"] / 1e6, record["attempts"][-1]["seconds"]
    print(f"  {size_mb:.1f} MB, built in {seconds:.0f} s; layers: {layers or 'types not known'}")
    for note in notes:
        print(f"  {note}")


def _find_model(options: argparse.Namespace) -> Path:
    """The model of a bundle, or a file that the user vouches for."""
    if is_bundle(options.model):
        return open_bundle(options.model, options.require_signature).model
    path = check_model_file(options.model, "ONNX model")
    require_trust(path, options.trust, options.require_signature)
    return path
