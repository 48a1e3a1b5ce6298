"""What the commands `evaluate` and `errors` do with labelled images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deploy.cli.commands import choose_target, open_runnable
from deploy.cli.terminal import describe_errors, plural, report_line, show_progress
from deploy.data import Dataset, ImageId, keep_fitting, read_dataset, summarise_problems, warn_of_problems
from deploy.detections import Detections
from deploy.error_analysis import ErrorAnalysis, analyse_errors, write_page
from deploy.errors import InputError
from deploy.evaluate import MAX_DETECTIONS, evaluate_artefact, judge_artefact
from deploy.foreign import make_printable

__all__ = ["analyse_bundle", "evaluate_bundle"]


def evaluate_bundle(options: argparse.Namespace) -> None:
    """Average precision on a labelled split; classes are matched by name."""
    _require_pycocotools("evaluating")
    bundle = open_runnable(options)
    dataset = _read_labelled(options, options.max_detections)
    target = choose_target(options)
    precision, unread = evaluate_artefact(
        bundle, bundle.class_names, dataset, target, show_progress, options.max_detections
    )
    _report_unread(unread)
    values = asdict(precision)
    by_class = dict(zip(dataset.class_names, values.pop("by_class")))
    if options.json:
        counts = _count_images(options, dataset, unread)
        print(json.dumps({"bundle": str(bundle.folder), **counts, **values, "by_class": by_class}, indent=2))
        return
    print(_name_split(options, dataset))
    for name, value in [*values.items(), *(("ap of " + name, value) for name, value in by_class.items())]:
        shown = "no such object" if value is None else f"{value:.4f}"
        print(f"  {make_printable(name):<24} {shown}")


def analyse_bundle(options: argparse.Namespace) -> None:
    """What each kind of mistake costs on a labelled split: a table or JSON, and a page with the curves."""
    _require_pycocotools("analysing errors")
    if options.out is not None:
        _check_page(options.out)
    bundle = open_runnable(options)
    dataset = _read_labelled(options, MAX_DETECTIONS)
    target = choose_target(options)

    def judge(results: Iterator[tuple[ImageId, Detections]]) -> ErrorAnalysis:
        return analyse_errors(dataset, results, show_progress)

    analysis, unread = judge_artefact(bundle, bundle.class_names, dataset, target, judge, show_progress)
    _report_unread(unread)
    if not analysis.detections:
        report_line("nothing was detected, so every object counts as missed (FN)")
    if options.out is not None:
        about = f"{bundle.folder}, {_name_split(options, dataset)}"
        write_page(options.out, analysis, f"Errors of {bundle.manifest.name}", about)
        report_line(f"wrote {options.out}")
    if options.json:
        counts = _count_images(options, dataset, unread)
        print(json.dumps({"bundle": str(bundle.folder), **counts, **analysis.to_json()}))
    else:
        print("\n".join([_name_split(options, dataset), *describe_errors(analysis)]))


def _read_labelled(options: argparse.Namespace, max_detections: int) -> Dataset:
    """The split that is asked for; what is wrong with it is said."""
    dataset = keep_fitting(read_dataset(options.data, options.split))
    for warning in warn_of_problems(dataset, max_detections):
        report_line(f"warning: {warning}")
    if dataset.problems:
        report_line(f"{dataset.layout}: {summarise_problems(dataset.problems)}")
    return dataset


def _require_pycocotools(what: str) -> None:
    """Before anything is detected, which may take long."""
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError as error:
        raise InputError(f"{what} needs pycocotools ({error}): python3 -m pip install pycocotools") from error


def _report_unread(unread: Sequence[Path]) -> None:
    show_progress("")
    for path in unread:
        report_line(f"{path} cannot be read (counted as an image without detections)")


def _name_split(options: argparse.Namespace, dataset: Dataset) -> str:
    return f"{plural(len(dataset.records), 'image')} of {options.data} ({options.split})"


def _count_images(options: argparse.Namespace, dataset: Dataset, unread: Sequence[Path]) -> dict[str, Any]:
    return {"split": options.split, "images": len(dataset.records), "unread_images": len(unread)}


def _check_page(path: Path) -> None:
    """Refuse, before any work, a place where no page can be written."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; --out takes the name of the page to write, as {path / 'errors.html'}")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} to write the page {path.name} into")
