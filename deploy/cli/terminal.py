"""What `deploy` shows on a terminal, or gives as JSON lines."""

from __future__ import annotations

import io
import json
import sys
from typing import Any, Sequence

from deploy.bundles.bundle import Bundle
from deploy.detections import Detections
from deploy.error_analysis.curves import AREAS, CURVES, LOSSES, ErrorAnalysis, ErrorCurves
from deploy.evaluate import Progress
from deploy.foreign import LINE_LIMIT, make_printable
from deploy.measuring.record import Comparison, LatencyRecord
from deploy.measuring.surroundings import describe_surroundings
from deploy.pipeline.detector import Timings
from deploy.pipeline.sources import SourceFrame

__all__ = [
    "comparison_json",
    "describe_comparison",
    "describe_errors",
    "describe_frame",
    "escape_what_cannot_be_printed",
    "plural",
    "print_record",
    "report_line",
    "show_progress",
    "show_steps",
]

WORST = 10  # classes in the table of errors


def escape_what_cannot_be_printed() -> None:
    """From here on, what a terminal's encoding does not have is printed as \\udc80 or \\u5b89, and ends nothing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show_progress(line: str) -> None:
    """Put a line on a terminal in the place of the last one; empty clears it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{make_printable(line, 100)}", end="", file=sys.stderr, flush=True)


def show_steps(line: str) -> None:
    """A line for each step on stderr; progress within a step only on a terminal, in place."""
    if isinstance(line, Progress):
        show_progress(line)
        return
    show_progress("")
    print(f"deploy: {make_printable(line)}", file=sys.stderr, flush=True)


def report_line(line: str) -> None:
    """A line on stderr, as of this program."""
    print(f"deploy: {make_printable(line, LINE_LIMIT)}", file=sys.stderr, flush=True)


def describe_frame(frame: SourceFrame, found: Detections, timings: Timings, bundle: Bundle, as_json: bool) -> str:
    """What was found on an image or frame: lines of text, or one JSON object."""
    objects = found.to_json(bundle.class_names)
    time_ms = frame.timestamp_ms
    if as_json:
        height, width = frame.image.shape[:2]
        content: dict[str, Any] = {
            "source": frame.source.name,
            "frame": frame.number,
            "timestamp_ms": None if time_ms is None else round(time_ms, 3),
            "width": width,
            "height": height,
            "objects": objects,
            "pre_ms": round(timings.pre_ms, 3),
            "infer_ms": round(timings.infer_ms, 3),
        }
        return json.dumps(content)
    place = make_printable(frame.source.name)
    if frame.source.kind != "image":
        place += f" frame {frame.number}" + ("" if time_ms is None else f" at {time_ms / 1000:.2f} s")
    count = plural(len(objects), "object")
    lines = [f"{place}: {count} ({timings.infer_ms:.1f} ms, preprocessing {timings.pre_ms:.1f} ms)"]
    for item in objects:
        corners = ", ".join(f"{value:g}" for value in item["box_xyxy"])
        lines.append(f"  {make_printable(item['class'])} {item['score']:.2f} at [{corners}]")
    return "\n".join(lines)


def print_record(path: str, record: LatencyRecord) -> None:
    """A latency and all that is known of how it came about."""
    low, high = record.ci95_ms
    least, p90, p99, most = (record.percentile_ms(percent) for percent in (0, 90, 99, 100))
    device, warm_up = record.device, sum(item.runs for item in record.warm_up)
    drift = max(item.drift for item in record.canaries)
    lines = [f"{path}: median {record.median_ms:.3f} ms, 95 % interval {low:.3f} to {high:.3f}"]
    lines.append(f"min {least:.3f}, mean {record.mean_ms:.3f}, p90 {p90:.3f}, p99 {p99:.3f}, max {most:.3f}")
    if record.pre_ms is not None and record.total_ms is not None:
        lines.append(f"preprocessing {record.pre_ms:.3f} ms, in all {record.total_ms:.3f} ms")
    if record.gpu_ms is not None:
        lines.append(f"of it the GPU {record.gpu_ms:.3f} ms")
    runs, windows = plural(len(record.samples_ms), "run"), plural(len(record.windows_ms), "window")
    lines.append(
        f"{runs} in {windows} after {warm_up} of warm-up; protocol {record.protocol}, ended by: {record.bound}"
    )
    lines.append(f"fed with {record.feeds}; {device.runtime}, {plural(device.threads, 'thread')}; {device.cpu}")
    clocks = "clocks locked" if device.clocks_locked else "clocks not locked"
    lines.append(f"canary drift {drift:.1%}; {record.mode}; {clocks}")
    lines += describe_surroundings(record)
    print("\n  ".join(lines + ["note: " + flag for flag in record.flags]))


def comparison_json(comparison: Comparison | None) -> dict[str, Any] | None:
    """A ratio with its interval and the verdict; None where there is no comparison."""
    if comparison is None:
        return None
    interval = [round(value, 4) for value in comparison.ci95]
    return {"ratio": round(comparison.ratio, 4), "ci95": interval, "different": comparison.different}


def describe_comparison(comparison: Comparison, other: str) -> str:
    """The same as a sentence."""
    verdict = "they differ" if comparison.different else "no difference can be claimed"
    return (
        f"latency is {comparison.ratio:.3f} of {other} (95 % interval {comparison.ci95[0]:.3f} to "
        f"{comparison.ci95[1]:.3f}): {verdict}"
    )


def describe_errors(analysis: ErrorAnalysis) -> list[str]:
    """What mistakes cost as a table of 80 columns: all classes by size, then the classes that lose the most."""
    there = [curves for curves in analysis.classes if curves.count()]
    worst = sorted(there, key=lambda curves: (curves.means()["C50"], -curves.count()))[:WORST]
    title = f"the {WORST} classes that lose the most, of {len(there)}" if len(there) > WORST else "by class"
    similar = "each class is its own" if not analysis.grouped_by else f"from {analysis.grouped_by}"
    return [
        _join_cells("", "objects", ["C75", "C50", *LOSSES]),
        *(_describe_curves(analysis.overall, area, "all classes" if area == "all" else f"  {area}") for area in AREAS),
        f"{title}:",
        *(_describe_curves(curves, "all", curves.name) for curves in worst),
        "C50 and what each mistake costs add up to 1:",
        *(f"  {name:<3}  {CURVES[name]}" for name in LOSSES),
        f"super-categories, whose classes are similar: {similar}",
    ]


def _describe_curves(curves: ErrorCurves, area: str, name: str) -> str:
    means, losses = curves.means(area), curves.losses(area)
    values = [means["C75"], means["C50"], *losses.values()]
    if not curves.count(area):
        return _join_cells(name, "none", [])
    return _join_cells(name, str(curves.count(area)), [f"{round(value, 3) + 0.0:.3f}" for value in values])  # no -0.000


def _join_cells(name: str, objects: str, values: Sequence[str]) -> str:
    return f"  {make_printable(name, 20):<20}{objects:>8}" + "".join(f"{value:>7}" for value in values)


def plural(count: int, noun: str, many: str = "") -> str:
    """Such as "1 image", "2 images"."""
    return f"{count} {noun if count == 1 else many or noun + 's'}"
