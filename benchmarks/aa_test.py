"""How often are two measurements of one and the same model called different? Wanted: in at most 5 % of 40 tries.

    python benchmarks/aa_test.py --model yolox_nano_416.onnx --report

Each try is a lease of its own in which the model takes part twice, in turns with itself, exactly as a student and its
base do in a search; `deploy.compare` then judges. Tries are kept in a file as they come: stopped, the script goes on
where it was. A try that fails is printed, kept, and made again. Without --model the canary is measured. Run it on a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from side_by_side import add_model_options

from deploy import PROTOCOLS, LatencyRecord, ModelSource, compare, measure_models
from deploy.errors import MeasurementError
from deploy.files import hash_file
from deploy.measuring.canary import write_canary
from deploy.measuring.device import read_fingerprint
from deploy.measuring.record import PROTOCOL_VERSION
from deploy.measuring.request import Setup

REPORTS = Path(__file__).parent / "reports"
WANTED = 0.05


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or write_canary(Path(folder) / "canary.onnx")
        question = {
            "model": model.name,
            "sha256": hash_file(model),
            "level": arguments.level,
            "protocol": PROTOCOL_VERSION,
            "threads": arguments.threads,
        }
        tries = read_tries(arguments.state, question)
        failures = 0
        while count_judged(tries) < arguments.tries and failures <= arguments.failures:
            tries.append(try_once(model, arguments.level, arguments.threads, seed=len(tries)))
            failures += "error" in tries[-1]
            keep_tries(arguments.state, question, tries)
            print(describe_try(tries[-1], count_judged(tries), arguments.tries), flush=True)
    judged = [item for item in tries if "error" not in item]
    called = sum(item["different"] for item in judged)
    print(f"called different: {called} of {len(judged)} tries; kept in {arguments.state}")
    if arguments.report and judged:
        print(f"report: {write_report(question, tries, arguments.hardware)}")
    if len(judged) < arguments.tries:
        sys.exit(f"only {len(judged)} of {arguments.tries} tries came to a verdict; start again to go on")
    sys.exit(called > WANTED * len(judged))


def try_once(
    model: Path, level: str, threads: int | None, seed: int, engine: str = "ort", target: str = "cpu"
) -> dict[str, object]:
    """One lease: the ratio, its interval, the verdict, the medians and what the records warn of; or the error."""
    try:
        records = measure_models(
            {"first": ModelSource(model), "second": ModelSource(model)},
            protocol=level,
            setup=Setup(engine, threads, target=target),
            seed=seed,
        )
    except MeasurementError as error:
        return {"error": str(error)}
    first, second = records["first"], records["second"]
    if not isinstance(first, LatencyRecord):
        return {"error": first.reason}
    if not isinstance(second, LatencyRecord):
        return {"error": second.reason}
    found = compare(first, second)
    return {
        "at": first.measured_at,
        "ratio": round(found.ratio, 5),
        "ci95": [round(value, 5) for value in found.ci95],
        "different": found.different,
        "median_ms": [round(first.median_ms, 4), round(second.median_ms, 4)],
        "windows": len(first.windows_ms),
        "device": first.device.to_json(),
        "flags": sorted({*first.flags, *second.flags}),
    }


def read_tries(state: Path, question: dict[str, object]) -> list[dict[str, object]]:
    """The tries that were made, none if there is no such file; those of another question are refused."""
    if not state.exists():
        state.parent.mkdir(parents=True, exist_ok=True)
        return []
    kept = json.loads(state.read_text())
    if kept["question"] != question:
        sys.exit(f"{state} holds tries of {kept['question']}, not of {question}: name another file with --state")
    return list(kept["tries"])


def keep_tries(state: Path, question: dict[str, object], tries: list[dict[str, object]]) -> None:
    """Written aside and renamed: stopped at any moment, the file is whole."""
    aside = state.with_suffix(".new")
    aside.write_text(json.dumps({"question": question, "tries": tries}, indent=1) + "\n")
    aside.replace(state)


def count_judged(tries: list[dict[str, object]]) -> int:
    return sum("error" not in item for item in tries)


def describe_try(item: dict[str, object], number: int, of: int) -> str:
    if "error" in item:
        return f"failed, to be made again: {item['error']}"
    low, high = item["ci95"]  # type: ignore[misc]
    verdict = "DIFFERENT" if item["different"] else "same"
    flags = "".join(f"; note: {flag}" for flag in item["flags"])  # type: ignore[attr-defined]
    return f"try {number} of {of}: ratio {item['ratio']:.4f} ({low:.4f} to {high:.4f}): {verdict}{flags}"


def write_report(question: dict[str, object], tries: list[dict[str, object]], hardware: str) -> Path:
    """`aa-test_<hardware>_<YYYY-MM>.md` with its figures, and the same as JSON beside it."""
    path = REPORTS / f"aa-test_{hardware}_{datetime.now(timezone.utc):%Y-%m}.md"
    REPORTS.mkdir(exist_ok=True)
    path.write_text("\n".join(list_lines(question, tries, path.with_suffix(".json").name)) + "\n")
    path.with_suffix(".json").write_text(json.dumps({"question": question, "tries": tries}, indent=1) + "\n")
    return path


def list_lines(question: dict[str, object], tries: list[dict[str, object]], figures: str) -> Iterator[str]:
    judged = [item for item in tries if "error" not in item]
    called, failed = sum(bool(item["different"]) for item in judged), len(tries) - len(judged)
    flagged = sum(bool(item["flags"]) for item in judged)
    away = np.abs(np.array([float(str(item["ratio"])) for item in judged]) - 1)
    device = judged[0]["device"]
    assert isinstance(device, dict)
    level, verdict = str(question["level"]), "reached" if called <= WANTED * len(judged) else "missed"
    yield f"# One model measured as two, at level `{level}` ({judged[0]['at']})"
    yield ""
    yield "Question: how often are two measurements of one and the same model called different? Wanted: at most 5 %."
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| hardware | {device['cpu']}, {device['cores']} physical cores |"
    yield f"| versions | {device['runtime']}, {device['threads']} threads; {device['system']} |"
    yield f"| model | {question['model']}, SHA-256 {str(question['sha256'])[:16]}..., fed with seeded noise |"
    yield f"| rule | further apart than {PROTOCOLS[level].gap:.0%}, and the interval of their ratio does not hold 1 |"
    yield ""
    yield f"    python benchmarks/aa_test.py --model {question['model']} --level {level} --tries {len(judged)} --report"
    yield ""
    yield f"**Called different: {called} of {len(judged)}** ({called / len(judged):.1%}: {verdict})."
    yield ""
    yield f"- Ratios were off 1 by {np.median(away):.2%} in the median try, {away.max():.2%} at most."
    yield f"- {failed} tries failed and were made again; {flagged} of the judged carry a warning."
    yield f"- Every try: [{figures}]({figures})."
    yield ""
    yield "## What this does not claim"
    yield ""
    yield "- Nothing about other machines, models or levels, nor about two measurements made in different leases."
    yield "- Nothing about how small a true difference is found."


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", choices=sorted(PROTOCOLS), default="screen")
    parser.add_argument("--tries", type=int, default=40)
    parser.add_argument("--failures", type=int, default=10, help="tries that may fail in one call")
    parser.add_argument("--threads", type=int, help="of the engine; all physical cores without it")
    parser.add_argument("--state", type=Path, default=Path("runs/aa-test.json"), help="file the tries are kept in")
    add_model_options(parser, read_fingerprint("", 0).cores)
    return parser.parse_args()


if __name__ == "__main__":
    main()
