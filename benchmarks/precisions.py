"""What do FP16 and INT8 cost in average precision, and what do they gain, on a target?

    python benchmarks/precisions.py --bundle BUNDLE --base BASE --data DATA [--target cpu] [--report FILE.md]

Both bundles are converted for the target, each artefact is evaluated on the validation images, and all are timed in one
lease on images of the data set. The base is converted too, so that what a precision gains is not taken for what the
search gained.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from export_vs_torchvision import describe_machine

from deploy import Bundle, LatencyRecord, compare, get_target, open_bundle
from deploy.builders.precision import CONVERSIONS
from deploy.convert import convert
from deploy.data import read_dataset
from deploy.evaluate import evaluate_artefact
from deploy.targets import Target

IMAGES = 64


def list_artefacts(
    bundle: Bundle, data: Path, target: Target, folder: Path
) -> dict[str, tuple[Bundle, dict[str, Any]]]:
    """The bundle and its conversions, each with its average precision, by precision."""
    dataset = read_dataset(data, "val")
    precise, _ = evaluate_artefact(bundle, bundle.class_names, dataset, target)
    found = {"fp32": (bundle, {"ap": precise.ap, "ap50": precise.ap50})}
    for precision in CONVERSIONS:
        written, conversion = convert(bundle, precision, data, folder / precision, target=target)
        found[precision] = (written, {**conversion.to_json(), "ap50": written.manifest.metrics["ap50"]})
        print(f"{bundle.manifest.name} {precision}: AP {conversion.ap:.4f}", flush=True)
    return found


def measure(artefacts: dict[str, Bundle], data: Path, target: Target, level: str) -> dict[str, LatencyRecord]:
    images = [record.path for record in read_dataset(data, "val").records[:IMAGES]]
    records = {}
    for name, record in target.measure(artefacts, images, level, report=print).items():
        assert isinstance(record, LatencyRecord), f"no latency of {name}: {record}"
        records[name] = record
    return records


def describe(rows: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["| artefact | AP | AP50 | median ms (95 %) | beside its fp32 (95 %) | MB |", "|---|---|---|---|---|---|"]
    for name, row in rows.items():
        low, high = row["latency"]["ci95_ms"]
        ratio = "{:.3f} ({:.3f} to {:.3f})".format(row["ratio"], *row["ratio_ci95"]) if row["ratio"] else "1"
        milliseconds = f"{row['latency']['median_ms']:.1f} ({low:.1f} to {high:.1f})"
        lines.append(f"| {name} | {row['ap']:.4f} | {row['ap50']:.4f} | {milliseconds} | {ratio} | {row['mb']:.1f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="of a student, in fp32")
    parser.add_argument("--base", type=Path, required=True, help="bundle of its base")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--level", default="final")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    target = get_target(arguments.target)
    found: dict[str, tuple[Bundle, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in (("base", arguments.base), ("student", arguments.bundle)):
            made = list_artefacts(open_bundle(path), arguments.data, target, Path(folder) / name)
            found.update({f"{name} {precision}": item for precision, item in made.items()})
        records = measure(
            {name: bundle for name, (bundle, _) in found.items()}, arguments.data, target, arguments.level
        )
        rows: dict[str, dict[str, Any]] = {}
        for name, (bundle, values) in found.items():
            plain = records[f"{name.split()[0]} fp32"]
            comparison = None if records[name] is plain else compare(records[name], plain)
            rows[name] = {
                **values,
                "latency": records[name].to_json(),
                "ratio": comparison and comparison.ratio,
                "ratio_ci95": comparison and comparison.ci95,
                "different": comparison and comparison.different,
                "mb": bundle.model.stat().st_size / 1e6,
                "head": bundle.head,
            }
    table = describe(rows)
    print("\n".join(table))
    if arguments.report is not None:
        date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
        device = next(iter(records.values())).device
        result = {"date": date, "machine": describe_machine(device.threads), "target": arguments.target, "rows": rows}
        arguments.report.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
        lines = [
            f"# FP16 and INT8 on {arguments.target} ({date})",
            "",
            "Question: what do FP16 and INT8 cost in average precision, and gain in time? Wanted: INT8 within 0.01.",
            "",
            f"{device.cpu}, {device.cores} physical cores; {device.runtime}, {device.threads} threads. All in one",
            f"lease at level `{arguments.level}`, on images of the data set; AP is each artefact's by the same engine.",
            "",
            "    python benchmarks/precisions.py --bundle STUDENT --base BASE --data DATA",
            "",
            *table,
            "",
            f"Every figure and record: [{arguments.report.stem}.json]({arguments.report.stem}.json).",
        ]
        arguments.report.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
