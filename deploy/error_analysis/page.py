"""One HTML page of an error analysis, which needs nothing else."""

from __future__ import annotations

import html
import json
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.content_policy import write_policy
from deploy.error_analysis.curves import AREAS, CURVES, LOSSES, ErrorAnalysis, ErrorCurves
from deploy.errors import OutputError
from deploy.files import write_file

__all__ = ["write_page"]

STEPS = 1000  # what a precision of 1 is in the page's data
PLACE = re.compile(r"\{\{(\w+)\}\}")


def write_page(path: Path, analysis: ErrorAnalysis, title: str, about: str) -> None:
    """Write the page; `about` is a line that says of which model and which images it is.

    Raises:
        OutputError: it cannot be written.
    """
    script = _read_resource("page.js")
    values = {
        "policy": write_policy([script]),
        "title": html.escape(title),
        "about": html.escape(about),
        "data": json.dumps(_list_data(analysis), separators=(",", ":")).replace("<", "\\u003c"),
        "script": script,
    }
    text = PLACE.sub(lambda found: values[found.group(1)], _read_resource("page.html"))
    try:
        write_file(path, text.encode(errors="backslashreplace"))  # names of files that are not UTF-8
    except OSError as error:
        raise OutputError(f"the page {path} cannot be written: {error.strerror}") from error


def _list_data(analysis: ErrorAnalysis) -> Mapping[str, Any]:
    units = [_describe(analysis.overall, "all")]
    if analysis.grouped_by:
        units += [_describe(curves, "supercategory") for curves in analysis.supercategories]
    units += [_describe(curves, "class") for curves in analysis.classes]
    return {
        "curves": [[name, meaning] for name, meaning in CURVES.items()],
        "losses": LOSSES,
        "areas": list(AREAS),
        "groupedBy": analysis.grouped_by,
        "steps": STEPS,
        "units": units,
    }


def _describe(curves: ErrorCurves, kind: str) -> Mapping[str, Any]:
    points = (curves.precision * STEPS).round().astype(int)
    areas = [
        {"objects": curves.count(area), "means": list(curves.means(area).values()), "points": points[index].tolist()}
        if curves.count(area)
        else None
        for index, area in enumerate(AREAS)
    ]
    return {"name": curves.name, "kind": kind, "areas": areas}


def _read_resource(name: str) -> str:
    content = pkgutil.get_data("deploy.error_analysis", name)  # also from within detect.pyz
    assert content is not None, name
    return content.decode()
