"""What this project does on a GPU, in a few minutes: one command that makes use of any NVIDIA GPU it finds.

    python benchmarks/gpu_day.py --limit 8m --data bccd --out runs/gpu-day

Parts run in order of value, each in a process of its own with a limit of its own, so that none can take another's
time or end the day. After each part `gpu_day.json` and `gpu_day.md` are written again; a part that cannot run, or has
no time left, says why. `--parts latency,training` runs some, and keeps what the folder has of the others.
Needs no network, and of this project only the folder it is started in (PYTHONPATH).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from typing import Any

from gpu_parts.day import Day, Skip, require_cuda_of_torch, require_gpu, write_json

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("deploy", "optimizer", "benchmarks", "tests")
SPARE_S = 3.0  # of the limit, to end a child and write the report in


@dataclass(frozen=True)
class Part:
    """One question to the GPU.

    Attributes:
        question: what its figures answer.
        most_s: of the limit, however much is left. least_s: with less left it is not begun.
        environment: variables of its process.
        needs_gpu: whether it is skipped without one.
    """

    question: str
    most_s: float
    least_s: float
    environment: Mapping[str, str] = field(default_factory=dict)
    needs_gpu: bool = True


# In order of value. A part is the module of its name in `gpu_parts`, whose `run` answers and whose `describe` tells.
PARTS: dict[str, Part] = {
    "machine": Part("what machine this is", 30, 0, needs_gpu=False),
    "marked_tests": Part("do the tests marked `gpu` pass?", 100, 20),
    "latency": Part("how long do our exports take compared with torchvision's models?", 70, 25),
    "training": Part("how fast is a training step compared with torchvision's modules in a plain loop?", 60, 25),
    "short_search": Part("does a search with target cuda run from images to bundles?", 100, 60),
    "same_model": Part("how often is one model, measured as two, called different?", 35, 20),
    "agreement": Part(
        "do our exports on the GPU find what torchvision's models find?", 60, 20, {"NVIDIA_TF32_OVERRIDE": "0"}
    ),
    "compiled": Part("how long do our exports take compared with torchvision's models under torch.compile?", 110, 30),
    "tensorrt": Part("what do NVIDIA's own builders make of our exports?", 60, 20),
}


def main() -> None:
    arguments = parse_arguments()
    if arguments.child:
        run_child(arguments.child, arguments.out, arguments.data, arguments.seconds)
        return
    deadline = time.monotonic() + arguments.limit
    head = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": arguments.commit or read_commit(),
        "sources_sha256": hash_sources(),
        "limit_s": arguments.limit,
        "data": arguments.data.name if arguments.data else None,
    }
    for name in arguments.parts:
        result = run_part(name, arguments.out, arguments.data, deadline - time.monotonic() - SPARE_S)
        write_json(arguments.out / "parts" / f"{name}.json", {**result, **head})
        write_report(arguments.out)
        print(f"{name}: {result['status']}{': ' + result['reason'] if result['reason'] else ''}", flush=True)
        print("\n".join(f"    {line}" for line in result["lines"]), flush=True)
    print(arguments.out / "gpu_day.md")


def run_part(name: str, out: Path, data: Path | None, left_s: float) -> dict[str, Any]:
    """What a child made of a part; whatever happens to the child, an answer with a reason."""
    part, began, path = PARTS[name], time.monotonic(), out / "parts" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    answer: dict[str, Any] = {"part": name, "question": part.question, "status": "skipped", "reason": "", "lines": []}
    try:
        if part.needs_gpu:
            require_gpu()
    except Skip as reason:
        return {**answer, "reason": str(reason)}
    seconds = min(part.most_s, left_s)
    if seconds < part.least_s or seconds <= 0:
        return {
            **answer,
            "reason": f"only {max(left_s, 0):.0f} s of the limit are left, and it wants {part.least_s:.0f}",
        }
    command = [sys.executable, str(Path(__file__).resolve()), "--child", name, "--out", str(out)]
    command += ["--seconds", f"{seconds:.1f}", *(["--data", str(data)] if data else [])]
    paths = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
    with (path.parent / f"{name}.log").open("w") as log:
        child = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": paths, **part.environment},
            start_new_session=True,
        )
        try:
            code = child.wait(seconds)
            said = read_last_line(path.parent / f"{name}.log")
            ended = {"status": "failed", "reason": f"its process ended with {code}: {said}"} if code else {}
        except subprocess.TimeoutExpired:
            reason = f"not finished after {seconds:.0f} s; what it had found is kept"
            ended = {"status": "out of time", "reason": reason}
        finally:
            end_session(child)
    if path.exists():
        answer.update(json.loads(path.read_text()))
    answer.update(ended)
    return {**answer, "seconds": round(time.monotonic() - began, 1)}


def end_session(child: subprocess.Popen[bytes]) -> None:
    """End the child and all it started, which are a session of their own."""
    with suppress(ProcessLookupError):  # all have ended
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def run_child(name: str, out: Path, data: Path | None, seconds: float) -> None:
    """Do the part here, and keep what is found as it comes."""
    path = out / "parts" / f"{name}.json"
    answer: dict[str, Any] = {
        "part": name, "question": PARTS[name].question, "status": "running", "reason": "", "lines": [], "result": {},
    }  # fmt: skip

    def keep(result: dict[str, Any]) -> None:
        answer.update(result=result, lines=list(module.describe(result)))
        write_json(path, answer)

    try:
        if PARTS[name].needs_gpu:
            require_cuda_of_torch()
        module = import_module(f"gpu_parts.{name}")
        keep(module.run(Day(data, time.monotonic() + seconds, keep, out / "scratch" / name)))
        answer.update(status="done")
    except Skip as reason:
        answer.update(status="skipped", reason=str(reason))
    except Exception as error:  # the next part is to have its turn
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]
        answer.update(status="failed", reason=reason, traceback=traceback.format_exc())
        traceback.print_exc()
    write_json(path, answer)


def write_report(out: Path) -> None:
    """`gpu_day.json` and `gpu_day.md` of every part the folder has."""
    paths = [out / "parts" / f"{name}.json" for name in PARTS]
    parts = {path.stem: json.loads(path.read_text()) for path in paths if path.exists()}
    write_json(out / "gpu_day.json", parts)
    aside = out / "gpu_day.md.new"
    aside.write_text("\n".join(list_lines(parts)) + "\n")
    aside.replace(out / "gpu_day.md")


def list_lines(parts: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    yield "# A day on a GPU"
    for name, part in parts.items():
        took = f", {part['seconds']:.0f} s" if "seconds" in part else ""
        yield f"\n## {name}: {part['status']}{took}\n"
        yield f"Question: {part['question']}"
        yield f"Code: commit {part['commit']}, sources {part['sources_sha256'][:16]}; {part['started']}"
        if part["reason"]:
            yield f"\n**{part['status']}**: {part['reason']}"
        if part["lines"]:
            yield ""
            yield from part["lines"]


def read_commit() -> str:
    """The commit of this folder, with a mark if files differ from it; else that it is not known."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "not known here (no git; --commit says it)"
    return found.stdout.strip()


def hash_sources() -> str:
    """SHA-256 over names and contents of this folder's Python files, which names the code where git cannot."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def read_last_line(path: Path) -> str:
    """Of a log, shortened."""
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def parse_limit(text: str) -> float:
    """Seconds of "8m", "60s" or a bare number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([ms]?)", text.strip())
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f"a limit is written like 8m or 60s, not {text!r}")
    return float(match[1]) * (60 if match[2] == "m" else 1)


def parse_parts(text: str) -> list[str]:
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in PARTS]
    if unknown or not wanted:
        raise argparse.ArgumentTypeError(f"there is no part {', '.join(unknown)!r}; there are: {', '.join(PARTS)}")
    return list(dict.fromkeys(wanted))


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=parse_limit, default=480.0, help="time for all of it, such as 8m or 60s")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-day"), help="folder of the report")
    parser.add_argument("--data", type=Path, help="labelled images, for what trains and searches on real ones")
    parser.add_argument(
        "--parts", type=parse_parts, default=list(PARTS), help=f"some, in this order, of: {', '.join(PARTS)}"
    )
    parser.add_argument("--commit", default="", help="of the code, where this folder is a copy without git")
    parser.add_argument("--child", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    if parsed.data is not None and not parsed.data.is_dir():
        parser.error(f"there is no folder {parsed.data}")
    parsed.out = parsed.out.resolve()
    parsed.data = parsed.data.resolve() if parsed.data else None
    return parsed


if __name__ == "__main__":
    main()
