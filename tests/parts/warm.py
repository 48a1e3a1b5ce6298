"""Processes that start with everything imported: forked from one that has done nothing else yet."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ended", "fork", "import_all", "wait_for"]

IMPORTED = (
    "optimizer.run.run", "optimizer.cli", "optimizer.trials.export", "optimizer.supernet.training", "deploy.cli.parser",
    "deploy.engines.ort", "deploy.bundles.archive", "torch.onnx", "torch.optim.swa_utils", "torch.ao.quantization",
    "onnx.checker", "onnx.shape_inference", "onnxruntime", "plotly.graph_objects", "plotly.io", "jinja2", "PIL.Image",
    "PIL.ImageDraw", "PIL.ImageFont", "PIL.PngImagePlugin", "PIL.JpegImagePlugin", "safetensors.torch", "torchvision",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status (negative: by that signal), and what it said."""

    status: int
    stdout: str
    stderr: str
    seconds: float


def import_all() -> None:
    """What a run imports sooner or later."""
    for name in IMPORTED:
        importlib.import_module(name)


def fork(work: Callable[[], object], said: Path) -> int:
    """A process that does the work and ends, its output in `said`.out and .err; returns its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        for stream, suffix in ((1, ".out"), (2, ".err")):
            file = os.open(said.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, stream)
            os.close(file)
        try:
            work()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def wait_for(process: int, said: Path, kill_after_s: float | None = None, limit_s: float = 300.0) -> Ended:
    """Wait for its end, and kill it after some seconds where that is wanted; an error where it never ends."""
    started = time.monotonic()
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        passed = time.monotonic() - started
        if found:
            break
        if (kill_after_s is not None and passed >= kill_after_s) or passed >= limit_s:
            os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            break
        time.sleep(0.002)
    texts = [said.with_suffix(suffix).read_text(errors="replace") for suffix in (".out", ".err")]
    if passed >= limit_s:
        raise TimeoutError(f"it did not end within {limit_s:g} s: {texts[1][-500:]}")
    return Ended(os.waitstatus_to_exitcode(status), *texts, passed)
