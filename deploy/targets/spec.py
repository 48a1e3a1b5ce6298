"""What is known of a target before it is reached: a value, nested by what its parts are about."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy.builders.releases import releases_of
from deploy.engines import get_engine

__all__ = ["NMS_VARIANTS", "PRECISIONS", "ROI_ALIGN_VARIANTS", "EngineSpec", "LinkSpec", "MeasuringSpec", "TargetSpec"]

NMS_VARIANTS = ("matrix", "op", "raw")  # these and the next: of deploy.export, which a device cannot import
ROI_ALIGN_VARIANTS = ("op", "grid")
PRECISIONS = ("fp32", "fp16", "int8")
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class LinkSpec:
    """How a device is reached.

    Attributes:
        kind: "local" is this machine; "ssh" a board.
        host: as `ssh` takes it: a name of the user's configuration, or ``user@board``.
        python, cache: the board's interpreter, and the folder there for pushed files.
        ssh_config, port, key: given to `ssh` as -F, -p and -i; None leaves them to the user's configuration. Only the
            user's own hosts file says them: an ssh configuration may name commands that run here.
    """

    kind: str = "local"
    host: str = ""
    python: str = "python3"
    cache: str = "~/.cache/detopt"
    ssh_config: str | None = None
    port: int | None = None
    key: str | None = None

    @property
    def machine(self) -> str:
        """Which machine it leads to, as far as it says; "" is this one. A machine measures one thing at a time."""
        host = "" if self.kind == "local" else self.host.rsplit("@", 1)[-1]
        return "" if host in THIS_MACHINE else host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True)
class EngineSpec:
    """What executes models on a device, and what it takes.

    Attributes:
        name: one of `deploy.engines.ENGINES`.
        threads: CPU threads it computes with; None is the number of physical cores.
        nms, roi_align: the variants to export for it.
        precisions: those of `PRECISIONS` that are wanted of it, the preferred first; students of a run are tried in
            each.
        tensorrt: the release there, one that `deploy check` knows, which every export is checked against; None where
            there is no TensorRT, or where the engine is "trt" and an export has to suit all of them.
    """

    name: str = "ort"
    threads: int | None = None
    nms: str = "op"
    roi_align: str = "op"
    precisions: tuple[str, ...] = ("fp32",)
    tensorrt: str | None = None

    @property
    def releases(self) -> tuple[str, ...]:
        """TensorRT releases that have to take an export for it."""
        if self.tensorrt is not None:
            return (self.tensorrt,)
        return releases_of(get_engine(self.name).parser)


@dataclass(frozen=True)
class MeasuringSpec:
    """How latencies are taken on a device.

    Attributes:
        mode: "sustained" or "burst" (`deploy.measuring.protocols`).
        lock_clocks: "never", "auto" (where it can be done) or "require" (`deploy.measuring.clocks`); it needs root
            there.
        also: what is read besides, whatever the protocol: "memory", "energy" (`deploy.measuring.protocols.EXTRAS`).
    """

    mode: str = "sustained"
    lock_clocks: str = "never"
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class TargetSpec:
    """What a target's file says; `deploy.targets.parse` reads one."""

    name: str
    link: LinkSpec = field(default_factory=LinkSpec)
    engine: EngineSpec = field(default_factory=EngineSpec)
    measuring: MeasuringSpec = field(default_factory=MeasuringSpec)
    description: str = ""
