"""Python's module of TensorRT, or of TensorRT for RTX: found or explained; a logger that counts and prints nothing."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from deploy.errors import EngineError

__all__ = ["NUMPY_NAMES", "RTX", "TENSORRT", "Library", "MessageLog", "import_library", "make_logger", "numpy_name"]

# numpy's names of the types that all releases have; others are asked for by name.
NUMPY_NAMES = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "INT64": "int64",
               "UINT8": "uint8", "BOOL": "bool"}  # fmt: skip
TEGRA = (Path("/etc/nv_tegra_release"), Path("/sys/firmware/devicetree/base/model"))
KEPT_MESSAGES, MESSAGE_LENGTH = 20, 300
# "insuficient" is how releases before 8.6 spell it.
SKIPPED = re.compile(r"[Ss]kipping tactic.*insuff?icient memory")
REQUESTED = re.compile(r"[Dd]evice memory is insufficient to use tactic")


class Library(NamedTuple):
    """One of NVIDIA's two libraries that build plans and execute them; the same classes in both.

    Attributes:
        name: in records. title: in messages. modules: of Python's; the first that is found is taken.
    """

    name: str
    title: str
    modules: tuple[str, ...]
    install: str


TENSORRT = Library(
    "tensorrt",
    "TensorRT",
    ("tensorrt",),
    "python3 -m pip install tensorrt (it needs an NVIDIA GPU and its driver)",
)
RTX = Library(
    "tensorrt-rtx",
    "TensorRT for RTX",
    ("tensorrt_rtx", "tensorrt_rtx_bindings"),  # the whole package, or its bindings and libraries alone
    "python3 -m pip install tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs (it builds without a GPU)",
)
ON_JETSON = (
    "on a Jetson it is the system's: sudo apt-get install python3-libnvinfer, and run the system's python3, or a "
    "virtual environment made with --system-site-packages; what pip offers is not for Jetsons"
)


def import_library(library: Library) -> Any:
    """The module of a library; an `EngineError` says what to install where it is not there."""
    reasons: list[str] = []
    for name in library.modules:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError) as error:  # OSError: one of its libraries is missing
            reasons.append(" ".join(str(error).split()))
    advice = ON_JETSON if library is TENSORRT and is_jetson() else library.install
    raise EngineError(f"{library.title} is not installed ({'; '.join(reasons)}): {advice}")


def is_jetson() -> bool:
    """Whether this machine is one of NVIDIA's boards."""
    for path in TEGRA:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        if path.name != "model" or "jetson" in text.lower():
            return True
    return False


def numpy_name(tensorrt: Any, dtype: Any) -> str:
    """numpy's name of a TensorRT type; an `EngineError` for one that numpy does not have."""
    for name, numpy in NUMPY_NAMES.items():
        if dtype == getattr(tensorrt.DataType, name, None):
            return numpy
    raise EngineError(f"a tensor of TensorRT's type {dtype} cannot be fed or read")


class MessageLog:
    """What TensorRT said: warnings and errors kept, tactics left out for lack of memory counted.

    ``echo`` gets everything, as a log that a user can read.
    """

    def __init__(self, echo: TextIO | None = None) -> None:
        self._echo = echo
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.warning_count = 0
        self._skipped = 0
        self._requested = 0

    @property
    def skipped_tactics(self) -> int:
        """One tactic is announced by either of two messages, or by both."""
        return max(self._skipped, self._requested)

    def add(self, is_error: bool, message: str) -> None:
        if self._echo is not None:
            print(f"{'error' if is_error else 'warning'}: {message}", file=self._echo, flush=True)
        self._skipped += bool(SKIPPED.search(message))
        self._requested += bool(REQUESTED.search(message))
        self.warning_count += not is_error
        kept = self.errors if is_error else self.warnings
        if len(kept) < KEPT_MESSAGES:
            kept.append(" ".join(message.split())[:MESSAGE_LENGTH])

    def to_json(self) -> dict[str, Any]:
        return {
            "warnings": self.warnings,
            "warning_count": self.warning_count,
            "errors": self.errors,
            "skipped_tactics": self.skipped_tactics,
        }


def make_logger(tensorrt: Any, log: MessageLog) -> Any:
    """A logger to give to TensorRT, which has to live as long as what was made with it."""

    class Logger(tensorrt.ILogger):  # type: ignore[misc, name-defined]  # known only once it is imported
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity == tensorrt.ILogger.WARNING:
                log.add(False, message)
            elif severity in (tensorrt.ILogger.ERROR, tensorrt.ILogger.INTERNAL_ERROR):
                log.add(True, message)

    return Logger()
