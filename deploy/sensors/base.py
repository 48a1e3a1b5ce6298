"""What a sensor tells: a reading, and what the readings of a measurement amount to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Iterable, Mapping, NamedTuple, Protocol, Sequence, Tuple

__all__ = [
    "REJECTING",
    "Conditions",
    "Reading",
    "Sample",
    "Sensor",
    "Span",
    "describe_reading",
    "find_slowdown",
    "merge_readings",
    "note_conditions",
]

# The hardware slows itself down: what is timed meanwhile is not the model. Software limits are flagged, not refused.
REJECTING = ("hw slowdown", "hw thermal slowdown", "hw power brake", "over-current")
SETTINGS = ("application clocks", "display clocks")  # chosen by somebody, and as steady as they are
CLOCK_LIMIT = 0.03
Range = Tuple[float, float]


class Reading(NamedTuple):
    """One look at a device; None is what cannot be read, never zero.

    Attributes:
        temperature_c: of the hottest part that computes. cpu_mhz: of the fastest core.
        power_mw: of the board's input or of the GPU. energy_mj: a counter of the same, from any beginning.
        throttle: what limits the clocks now, other than idling; empty where it can be told that nothing does.
    """

    temperature_c: float | None = None
    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    memory_mhz: float | None = None
    power_mw: float | None = None
    energy_mj: float | None = None
    throttle: tuple[str, ...] | None = None


class Sample(NamedTuple):
    """A reading and when it was taken, on the system's monotonic clock, which all processes share."""

    at_s: float
    reading: Reading


class Span(NamedTuple):
    """A stretch of time on the same clock, and how many frames went through a model in it."""

    start_s: float
    end_s: float
    frames: int = 0


class Sensor(Protocol):
    """A source of readings."""

    def read(self) -> Reading: ...

    def close(self) -> None: ...


def merge_readings(readings: Iterable[Reading]) -> Reading:
    """Of each value the first that there is; what throttles is collected."""
    readings = list(readings)
    values = {}
    for name in Reading._fields:
        found = [getattr(reading, name) for reading in readings if getattr(reading, name) is not None]
        values[name] = found[0] if found else None
    told = [reading.throttle for reading in readings if reading.throttle is not None]
    throttle = tuple(dict.fromkeys(reason for reasons in told for reason in reasons)) if told else None
    return Reading(**values)._replace(throttle=throttle)


@dataclass(frozen=True)
class Conditions:
    """How a device was while one process measured on it; None is what could not be read.

    Attributes:
        start_c, end_c: temperature at the beginning and the end.
        cpu_mhz, gpu_mhz, memory_mhz: lowest and highest clock while models were timed.
        throttle: every reason seen meanwhile for clocks lower than they could be. samples: how many readings that is.
    """

    start_c: float | None = None
    end_c: float | None = None
    cpu_mhz: Range | None = None
    gpu_mhz: Range | None = None
    memory_mhz: Range | None = None
    throttle: tuple[str, ...] | None = None
    samples: int = 0

    @staticmethod
    def of(samples: Sequence[Sample], timed: Span) -> Conditions:
        """Temperatures of all samples; clocks and throttling of those in the span."""
        inside = [sample.reading for sample in samples if timed.start_s <= sample.at_s <= timed.end_s]
        temperatures = _list_values([sample.reading for sample in samples], "temperature_c")
        return Conditions(
            start_c=temperatures[0] if temperatures else None,
            end_c=temperatures[-1] if temperatures else None,
            cpu_mhz=_find_range(inside, "cpu_mhz"),
            gpu_mhz=_find_range(inside, "gpu_mhz"),
            memory_mhz=_find_range(inside, "memory_mhz"),
            throttle=merge_readings(inside).throttle,
            samples=len(inside),
        )

    @property
    def gpu_clock_variation(self) -> float | None:
        """Highest to lowest GPU clock, less 1."""
        return None if not self.gpu_mhz or self.gpu_mhz[0] <= 0 else self.gpu_mhz[1] / self.gpu_mhz[0] - 1

    def to_json(self) -> Mapping[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Conditions:
        values: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
        return Conditions(**values)


def find_slowdown(conditions: Conditions) -> str | None:
    """Why a timing under these conditions does not measure the model; None where it does."""
    reasons = [reason for reason in conditions.throttle or () if reason in REJECTING]
    if not reasons:
        return None
    start, end = _describe(conditions.start_c), _describe(conditions.end_c)
    return f"the device slowed itself down while it was timed: {', '.join(reasons)} (from {start} to {end})"


def note_conditions(conditions: Conditions) -> tuple[str, ...]:
    """What a reader has to know before trusting what was timed under these conditions."""
    notes = []
    limits = [reason for reason in conditions.throttle or () if reason not in SETTINGS]
    if limits:
        notes.append(f"clocks were limited: {', '.join(limits)}")
    variation = conditions.gpu_clock_variation
    if variation is not None and variation > CLOCK_LIMIT:
        notes.append(f"the GPU's clock varied by more than {CLOCK_LIMIT:.0%}")
    return tuple(notes)


def describe_reading(reading: Reading) -> str:
    """One line for a person: each value, or that it cannot be read."""
    values = (
        ("temperature", reading.temperature_c, "C"),
        ("CPU", reading.cpu_mhz, "MHz"),
        ("GPU", reading.gpu_mhz, "MHz"),
        ("power", reading.power_mw, "mW"),
    )
    known = [f"{name} {value:.0f} {unit}" for name, value, unit in values if value is not None]
    missing = [name for name, value, _ in values if value is None]
    return "sensors: " + ", ".join(known + (["not readable here: " + ", ".join(missing)] if missing else []))


def _list_values(readings: Iterable[Reading], name: str) -> list[float]:
    values = (getattr(reading, name) for reading in readings)
    return [value for value in values if value is not None]


def _find_range(readings: Iterable[Reading], name: str) -> Range | None:
    values = _list_values(readings, name)
    return (min(values), max(values)) if values else None


def _describe(temperature_c: float | None) -> str:
    return "an unknown temperature" if temperature_c is None else f"{temperature_c:.0f} C"
