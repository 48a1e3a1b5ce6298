"""What is asked of a measurement."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Iterable, Mapping

from deploy.engines import get_engine
from deploy.measuring.protocols import MeasuringProtocol, get_protocol
from deploy.pipeline.model import ModelSource

__all__ = ["MeasuringRequest", "Setup"]


@dataclass(frozen=True)
class Setup:
    """What executes the models, and how the device is treated meanwhile.

    Attributes:
        engine: a name in `deploy.engines.ENGINES`. threads: of the CPU; None is the number of physical cores.
        mode: "sustained" or "burst" (`deploy.measuring.protocols`).
        lock_clocks: "never", "auto" or "require" (`deploy.measuring.clocks`).
        target: the device's name in records and messages.
        lease_timeout_s: how long to wait for another process that measures on the device.
        also: what is read besides the latency, whatever the protocol (`deploy.measuring.protocols.EXTRAS`).
    """

    engine: str = "ort"
    threads: int | None = None
    mode: str = "sustained"
    lock_clocks: str = "never"
    target: str = "cpu"
    lease_timeout_s: float = 600.0
    also: tuple[str, ...] = ()

    @property
    def uses_gpu(self) -> bool:
        """Whether the models compute on a GPU, so that its sensors count."""
        return get_engine(self.engine).uses_gpu


@dataclass(frozen=True)
class MeasuringRequest:
    """Models to be timed in turns, in one lease; JSON both ways, because it travels to a process of its own.

    Attributes:
        subjects: the models, by a name of the caller's.
        images: files that the models are fed with, through their own preprocessing; none: seeded noise.
        protocol: "quick", "screen" or "final" (`deploy.measuring.protocols`); rules: what it says in the setup's mode.
        seed: of the order of turns.
    """

    subjects: Mapping[str, ModelSource]
    images: tuple[Path, ...] = ()
    protocol: str = "screen"
    setup: Setup = field(default_factory=Setup)
    seed: int = 0

    @property
    def rules(self) -> MeasuringProtocol:
        return get_protocol(self.protocol, self.setup.mode, self.setup.also)

    def without(self, names: Iterable[str]) -> MeasuringRequest:
        """The same for the other models."""
        left = {name: source for name, source in self.subjects.items() if name not in set(names)}
        return replace(self, subjects=left)

    def to_json(self) -> dict[str, Any]:
        return {
            "subjects": {name: source.to_json() for name, source in self.subjects.items()},
            "images": [str(path) for path in self.images],
            "protocol": self.protocol,
            "setup": asdict(self.setup),
            "seed": self.seed,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> MeasuringRequest:
        return MeasuringRequest(
            {name: ModelSource.from_json(item) for name, item in value["subjects"].items()},
            tuple(map(Path, value["images"])),
            value["protocol"],
            Setup(**{**value["setup"], "also": tuple(value["setup"]["also"])}),
            value["seed"],
        )
