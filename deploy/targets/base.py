"""A target: the device a model is for. A value read from a TOML file, plus the link that reaches it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Protocol, Sequence

from deploy.builders.releases import RELEASES, releases_of
from deploy.data.images import ImageFile
from deploy.detections import Detections
from deploy.engines import get_engine
from deploy.errors import InputError
from deploy.measuring.clocks import LOCK_CLOCKS
from deploy.measuring.measure import Measured
from deploy.measuring.protocols import MODES
from deploy.pipeline.detector import Timings
from deploy.pipeline.model import ModelSource
from deploy.targets.examine import Condition
from deploy.toml import load_toml

__all__ = ["NMS_VARIANTS", "ROI_ALIGN_VARIANTS", "Target", "TargetSpec", "make_target", "parse_target"]

NMS_VARIANTS = ("matrix", "op", "raw")  # these and the next: of deploy.export, which a device cannot import
ROI_ALIGN_VARIANTS = ("op", "grid")
TEXTS = (
    "link", "engine", "nms", "roi_align", "description", "tensorrt", "host", "python", "cache", "ssh_config", "key",
)  # fmt: skip
PRECISIONS = ("fp32", "fp16", "int8")
OF_THE_USER = ("ssh_config", "port", "key")  # what runs here, and what is shown to whom: no file of others says it


@dataclass(frozen=True)
class TargetSpec:
    """What a target's file says.

    Attributes:
        link: how it is reached. engine: the runtime that executes models there.
        threads: CPU threads of the runtime; None is the number of physical cores.
        nms, roi_align: the variants to export for it. precisions: those of `PRECISIONS` its engine runs, the
            preferred first; students of a run are tried in each.
        tensorrt: the release there, one that `deploy check` knows, which every export is checked against; None where
            there is no TensorRT, or where the engine is "trt" and an export has to suit all of them.
        host: of the link "ssh", as `ssh` takes it: a name of the user's configuration, or ``user@board``.
        python, cache: the board's interpreter, and the folder there for pushed files.
        ssh_config, port, key: given to `ssh` as -F, -p and -i; None leaves them to the user's configuration. Only the
            user's own hosts file says them: an ssh configuration may name commands that run here.
        mode: "sustained" or "burst" (`deploy.measuring.protocols`). lock_clocks: "never", "auto" (where it can be
            done) or "require" (`deploy.measuring.clocks`); it needs root on the device.
    """

    name: str
    link: str = "local"
    engine: str = "ort"
    threads: int | None = None
    nms: str = "op"
    roi_align: str = "op"
    precisions: tuple[str, ...] = ("fp32",)
    description: str = ""
    tensorrt: str | None = None
    host: str = ""
    python: str = "python3"
    cache: str = "~/.cache/detopt"
    ssh_config: str | None = None
    port: int | None = None
    key: str | None = None
    mode: str = "sustained"
    lock_clocks: str = "never"

    @property
    def releases(self) -> tuple[str, ...]:
        """TensorRT releases that have to take an export for this target."""
        if self.tensorrt is not None:
            return (self.tensorrt,)
        return releases_of(get_engine(self.engine).parser)


class Target(Protocol):
    """A device that models are measured and run on."""

    @property
    def spec(self) -> TargetSpec: ...

    def check(self) -> list[Condition]:
        """What was found there, and what a measurement would lack; never raises for what is missing."""
        ...

    def measure(
        self,
        subjects: Mapping[str, ModelSource],
        images: Sequence[Path] = (),
        protocol: str = "screen",
        seed: int = 0,
        report: Callable[[str], None] = lambda line: None,
    ) -> dict[str, Measured]:
        """As `deploy.measuring.measure.measure_models`, on this device."""
        ...

    def detect(
        self, source: ModelSource, images: Sequence[ImageFile], report: Callable[[str], None] = lambda line: None
    ) -> Iterator[tuple[int, Detections, Timings]]:
        """As `Detector.detect_files`, on this device."""
        ...


def parse_target(text: str, origin: str) -> TargetSpec:
    """The spec in the text of a TOML file; ``origin`` names the file in errors.

    Raises:
        InputError: it is no TOML, a key is unknown or for the user's own hosts file, or a value is of the wrong kind.
    """
    values = load_toml(text, origin)
    for key in OF_THE_USER:
        if key in values:
            raise InputError(
                f"{origin}: {key} is taken only from your own hosts file, since a target file may come from others; "
                f"leave host and {key} out of it and write both into detopt/hosts.toml in ~/.config"
            )
    return make_target(values, origin)


def make_target(values: Mapping[str, Any], origin: str) -> TargetSpec:
    """The spec of these values; errors as `parse_target`."""
    known = [item.name for item in fields(TargetSpec)]
    unknown = sorted(set(values) - set(known))
    if unknown or not isinstance(values.get("name"), str):
        found = "unknown: " + ", ".join(unknown) if unknown else "it has no name"
        raise InputError("{} does not describe a target: {}; its keys are {}".format(origin, found, ", ".join(known)))
    for key in TEXTS:
        if not isinstance(values.get(key, ""), str):
            raise InputError(f"{origin}: {key} is a text, not {values[key]!r}")
    threads, precisions = values.get("threads"), values.get("precisions", ["fp32"])
    if threads is not None and (type(threads) is not int or threads < 1):
        raise InputError(f"{origin}: threads is a positive whole number, not {threads!r}")
    port = values.get("port")
    if port is not None and (type(port) is not int or not 0 < port < 65536):
        raise InputError(f"{origin}: port is a number from 1 to 65535, not {port!r}")
    for key, known_values in (("mode", tuple(MODES)), ("lock_clocks", LOCK_CLOCKS)):
        if values.get(key, known_values[0]) not in known_values:
            raise InputError("{}: {} is one of {}, not {!r}".format(origin, key, ", ".join(known_values), values[key]))
    if not isinstance(precisions, list) or not precisions or not all(isinstance(item, str) for item in precisions):
        raise InputError(f"{origin}: precisions is a list of names, not {precisions!r}")
    strange = [item for item in precisions if item not in PRECISIONS]
    if strange:
        raise InputError("{}: unknown precision {!r}; there are: {}".format(origin, strange[0], ", ".join(PRECISIONS)))
    if "tensorrt" in values and values["tensorrt"] not in RELEASES:
        raise InputError(
            "{}: exports can be checked against TensorRT {}, not {}; name the one nearest to the device's".format(
                origin, ", ".join(RELEASES), values["tensorrt"]
            )
        )
    return TargetSpec(**{**values, "precisions": tuple(precisions)})
