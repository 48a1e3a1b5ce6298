"""What a machine has and lacks for measuring, each with what to do; runs on the machine itself."""

from __future__ import annotations

import platform
import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, Mapping, NamedTuple, Sequence

from deploy.builders.build import prepare_model
from deploy.child import Say, ask_child
from deploy.engines import ENGINES, get_engine, open_engine
from deploy.engines.cuda_driver import find_cuda_device
from deploy.errors import DeployError, EngineError, InputError
from deploy.measuring.canary import write_canary
from deploy.measuring.device import read_fingerprint
from deploy.measuring.memory import explain_unreadable
from deploy.measuring.timing import make_noise
from deploy.sensors import Reading, describe_reading, read_now
from deploy.sensors.catalogue import list_counters
from deploy.sensors.machine import read_governor
from deploy.sensors.nvml import find_nvml
from deploy.sensors.tegra import read_power_mode

__all__ = [
    "STATES",
    "Condition",
    "describe_conditions",
    "examine_machine",
    "require_reading",
    "require_working",
    "run_canary",
]

STATES = ("works", "note", "missing")
CANARY = "deploy.targets.examine:run_canary"
LEAST_FREE_MIB = 512
INSTALL = {
    "numpy": "sudo apt install python3-numpy, or in a virtual environment python3 -m pip install numpy",
    "PIL": "sudo apt install python3-pil, or in a virtual environment python3 -m pip install pillow",
    "Python 3.8": 'name a newer one in the hosts file, as python = "python3.8"',
}


class Condition(NamedTuple):
    """One thing that was looked at: ``missing`` is what a measurement fails without, a ``note`` is good to know."""

    state: str
    what: str
    found: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.state:<8} {self.what}: {self.found}{advice}"


def examine_machine(engine: str, threads: int | None, folder: Path) -> list[Condition]:
    """This machine, for a target with this engine; its free disk is that of ``folder``."""
    conditions = [
        Condition("works", "machine", f"{platform.system()} {platform.machine()}"),
        Condition("works", "Python", platform.python_version()),
        _find_module(("numpy",), True, INSTALL["numpy"]),
        _find_module(("PIL",), True, INSTALL["PIL"]),
    ]
    kind = get_engine(engine)
    for packages in dict.fromkeys(known.packages for known in ENGINES.values()):
        conditions.append(_find_module(packages, packages == kind.packages, kind.install))
    conditions += [_find_cuda(kind.uses_gpu), _run_canary(engine, threads), _find_disk(folder), _find_governor()]
    reading = read_now(kind.uses_gpu)
    conditions.append(Condition("works", "sensors", describe_reading(reading).replace("sensors: ", "", 1)))
    conditions += [_find_memory(kind.uses_gpu), _find_energy(reading, kind.uses_gpu)]
    if kind.uses_gpu and reading.gpu_mhz is None:
        conditions += _find_nvml()
    return [*conditions, *_find_power_mode()]


def describe_conditions(name: str, conditions: Sequence[Condition]) -> list[str]:
    """A line that says whether the target works, and one for each condition."""
    lacks = sum(condition.state == "missing" for condition in conditions)
    verdict = "works" if not lacks else f"cannot be measured on, {lacks} missing"
    return [f"target {name}: {verdict}", *map(str, conditions)]


def require_working(name: str, conditions: Sequence[Condition]) -> None:
    """Raises `InputError`, in one line, for the first thing that is missing."""
    for condition in conditions:
        if condition.state == "missing":
            advice = f"; {condition.advice}" if condition.advice else ""
            raise InputError(
                f"target {name!r} cannot be measured on: {condition.what}: {condition.found}{advice} "
                f"(all of it: optimize targets check {name})"
            )


def require_reading(name: str, conditions: Sequence[Condition], what: str, needed_by: str) -> None:
    """Raises `InputError`, in one line, where a target does not tell something besides latencies."""
    found = [condition for condition in conditions if condition.what == what]
    if [condition.state for condition in found] != ["works"]:
        reasons = [f"{item.found}{f'; {item.advice}' if item.advice else ''}" for item in found]
        raise InputError(
            f"target {name!r} does not tell {what}, which {needed_by} needs: {'; '.join(reasons) or 'not looked at'} "
            f"(all of it: optimize targets check {name})"
        )


def _find_module(names: Sequence[str], needed: bool, install: str) -> Condition:
    """The first of these modules that is there; it is called by the first name."""
    reasons = []
    for name in names:
        try:
            return Condition("works", names[0], str(getattr(import_module(name), "__version__", "of unknown version")))
        except ImportError as error:
            reasons.append(str(error))
    if not needed:
        return Condition("note", names[0], "not found, and not needed by this target")
    return Condition("missing", names[0], "; ".join(reasons), install)


def _run_canary(engine: str, threads: int | None) -> Condition:
    """Whether the engine executes a small model, in a process that it may end."""
    what = f"engine {engine}"
    try:
        runtime, opened, cpu, cores = ask_child(CANARY, {"engine": engine, "threads": threads}, lambda message: None)
    except DeployError as error:
        return Condition("missing", what, str(error))
    return Condition("works", what, (f"{runtime} ran a small model, {opened} threads; {cpu}, {cores} physical cores"))


def run_canary(request: Mapping[str, Any], say: Say) -> list[Any]:
    """Run the canary by an engine: the runtime's name, its threads, the CPU and its cores."""
    with tempfile.TemporaryDirectory(prefix="canary-") as folder:
        model = write_canary(Path(folder) / "canary.onnx")
        file = prepare_model(model, request["engine"])
        with open_engine(file, request["threads"], request["engine"]) as opened:
            opened.infer(make_noise(opened.inputs, 0, model.name))
            device = read_fingerprint(opened.runtime, opened.threads)
    return [device.runtime, device.threads, device.cpu, device.cores]


def _find_cuda(needed: bool) -> Condition:
    try:
        device = find_cuda_device()
    except EngineError as error:
        found = str(error)
    else:
        return Condition("works", "CUDA device", "{}, {} in all".format(*device))
    if not needed:
        return Condition("note", "CUDA device", found + ", and not needed by this target")
    return Condition("missing", "CUDA device", found, "install NVIDIA's driver; in a container, start it with the GPU")


def _find_disk(folder: Path) -> Condition:
    free = shutil.disk_usage(str(folder)).free >> 20
    if free >= LEAST_FREE_MIB:
        return Condition("works", "disk", f"{free} MiB free")
    return Condition("missing", "disk", f"{free} MiB free at {folder}", (f"free {LEAST_FREE_MIB} MiB at least"))


def _find_memory(uses_gpu: bool) -> Condition:
    """Whether it can be told how much memory a model takes."""
    reason = explain_unreadable(uses_gpu)
    if reason:
        return Condition("note", "memory", reason, "needed by --max-memory alone")
    return Condition("works", "memory", f"peak of {'the GPU' if uses_gpu else 'a process'} is readable")


def _find_energy(reading: Reading, uses_gpu: bool) -> Condition:
    """Whether it can be told what an image costs."""
    for found, value in (("a counter", reading.energy_mj), ("power", reading.power_mw)):
        if value is not None:
            return Condition("works", "energy", f"{found} of {'the GPU or board' if uses_gpu else 'the CPU or board'}")
    counters = [] if uses_gpu else list_counters()
    if counters:
        return Condition(
            "note", "energy", f"{counters[0]} cannot be read by this user", f"sudo chmod a+r {counters[0]}"
        )
    return Condition("note", "energy", "no counter and no power can be read", "needed by --score energy alone")


def _find_governor() -> Condition:
    governor = read_governor()
    if governor is None:
        return Condition("note", "CPU clocks", "the governor is not readable", "latencies may move with the clocks")
    if governor == "performance":
        return Condition("works", "CPU clocks", "governor performance")
    return Condition(
        "note", "CPU clocks", f"governor {governor}", "steadier: sudo cpupower frequency-set -g performance"
    )


def _find_nvml() -> list[Condition]:
    """The package that would ask the driver, where it is missing."""
    try:
        find_nvml()
    except OSError as error:
        return [Condition("note", "GPU sensors", str(error), "a Jetson does not need it")]
    return []


def _find_power_mode() -> list[Condition]:
    """Of a Jetson; elsewhere there is nothing to say."""
    mode = read_power_mode()
    return [] if mode is None else [Condition("works", "power mode", mode, "latencies hold for this one")]
