"""What TensorRT for RTX makes of a model for GPUs that are not there: parsed and built, nothing kept."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, NamedTuple

from deploy.builders.build import BUILDERS
from deploy.builders.plans import SEARCH_LEVEL
from deploy.child import ask_child
from deploy.engines.tensorrt_library import RTX
from deploy.engines.trt_rtx import capability_of
from deploy.errors import BuildError, ChildError, InputError

__all__ = ["GPUS", "Verdict", "describe_verdict", "try_builds"]

GPUS = ("sm75", "sm86", "sm89", "sm120")  # GeForce RTX 20, 30, 40, 50 and what is like them


class Verdict(NamedTuple):
    """What came of a model for one GPU: the build's record, or why there is no plan, in the library's words."""

    gpu: str
    seconds: float
    record: Mapping[str, Any] | None
    refusal: str = ""


def try_builds(model: Path, gpus: Iterable[str] = GPUS) -> Iterator[Verdict]:
    """Build a model for each GPU in a process of its own, and say what came of it.

    Raises:
        InputError: a GPU is not named as "sm86".
        EngineError: TensorRT for RTX is not installed.
    """
    for gpu in gpus:
        capability, started = capability_of(gpu), time.monotonic()
        record, refusal = None, ""
        with tempfile.TemporaryDirectory(prefix="offline-") as folder:
            plan = str(Path(folder) / "model.plan")
            request = {"model": str(model.resolve()), "plan": plan, "compute_capabilities": [capability],
                       "level": SEARCH_LEVEL, "allow_tf32": True}  # fmt: skip
            try:
                record = ask_child(BUILDERS[RTX.name], request, lambda message: None)
            except (BuildError, ChildError, InputError) as error:
                refusal = str(error)
        yield Verdict(gpu, round(time.monotonic() - started, 1), record, refusal)


def describe_verdict(verdict: Verdict) -> str:
    """One line."""
    if verdict.record is None:
        return f"{verdict.gpu:<6} refused: {verdict.refusal}"
    layers = ", ".join(f"{count} {name}" for name, count in verdict.record["weighted_layers_by_precision"].items())
    size = verdict.record["engine_bytes"] / 1e6
    return f"{verdict.gpu:<6} built in {verdict.seconds:.1f} s, {size:.1f} MB; convolutions and products: {layers}"
