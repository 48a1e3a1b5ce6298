"""What a latency record says of the device's state, for a person; what could not be read is said to be so."""

from __future__ import annotations

from typing import List, Optional, Tuple

from deploy.latency import LatencyRecord
from deploy.protocols import get_protocol

__all__ = ["describe_surroundings"]

NOT_READABLE = "not readable here"
TOO_BRIEF = "timed too briefly to be read"


def describe_surroundings(record: LatencyRecord) -> List[str]:
    """Lines on temperature and clocks over all processes, power mode, and energy where the level meters it."""
    conditions = record.conditions
    if not conditions:
        return []
    starts = [item.start_c for item in conditions if item.start_c is not None]
    ends = [item.end_c for item in conditions if item.end_c is not None]
    temperature = "{:.0f} C to {:.0f} C".format(starts[0], max(ends)) if starts and ends else NOT_READABLE
    missing = TOO_BRIEF if starts and not any(item.samples for item in conditions) else NOT_READABLE
    lines = [
        "temperature {}; CPU clock {}; GPU clock {}".format(
            temperature,
            _describe_clocks([item.cpu_mhz for item in conditions], missing),
            _describe_clocks([item.gpu_mhz for item in conditions], missing),
        )
    ]
    if record.device.power_mode is not None:
        lines.append("power mode {}".format(record.device.power_mode))
    if get_protocol(record.level).energy_s:
        lines.append("energy a frame {}".format(_describe_energy(record)))
    return lines


def _describe_clocks(ranges: List[Optional[Tuple[float, float]]], missing: str) -> str:
    known = [item for item in ranges if item is not None]
    if not known:
        return missing
    return "{:.0f} to {:.0f} MHz".format(min(low for low, _ in known), max(high for _, high in known))


def _describe_energy(record: LatencyRecord) -> str:
    energy = record.energy
    if energy is None:
        return NOT_READABLE
    net = NOT_READABLE if energy.net_mj is None else "{:.1f} mJ".format(energy.net_mj)
    return "{:.1f} mJ gross, {} above idle, over {:.0f} s".format(energy.gross_mj, net, energy.seconds)
