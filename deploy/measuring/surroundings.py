"""What a latency record says of the device's state, for a person; what could not be read is said to be so."""

from __future__ import annotations

from deploy.measuring.protocols import get_protocol
from deploy.measuring.record import LatencyRecord

__all__ = ["describe_surroundings"]

NOT_READABLE = "not readable here"
TOO_BRIEF = "timed too briefly to be read"


def describe_surroundings(record: LatencyRecord) -> list[str]:
    """Lines on temperature and clocks over all processes, power mode, energy and memory where they were asked for."""
    conditions = record.conditions
    if not conditions:
        return []
    starts = [item.start_c for item in conditions if item.start_c is not None]
    ends = [item.end_c for item in conditions if item.end_c is not None]
    temperature = f"{starts[0]:.0f} C to {max(ends):.0f} C" if starts and ends else NOT_READABLE
    missing = TOO_BRIEF if starts and not any(item.samples for item in conditions) else NOT_READABLE
    lines = [
        f"temperature {temperature}; CPU clock "
        f"{_describe_clocks([item.cpu_mhz for item in conditions], missing)}; GPU clock "
        f"{_describe_clocks([item.gpu_mhz for item in conditions], missing)}"
    ]
    if record.device.power_mode is not None:
        lines.append(f"power mode {record.device.power_mode}")
    if record.energy is not None or get_protocol(record.protocol).energy_s:
        lines.append(f"energy per frame {_describe_energy(record)}")
    if record.memory_mib is not None:
        where = "the GPU" if record.gpu_ms is not None else "the process that ran it"
        lines.append(f"peak memory {record.memory_mib:.0f} MiB of {where}")
    return lines


def _describe_clocks(ranges: list[tuple[float, float] | None], missing: str) -> str:
    known = [item for item in ranges if item is not None]
    if not known:
        return missing
    return f"{min(low for low, _ in known):.0f} to {max(high for _, high in known):.0f} MHz"


def _describe_energy(record: LatencyRecord) -> str:
    energy = record.energy
    if energy is None:
        return NOT_READABLE
    net = NOT_READABLE if energy.net_mj is None else f"{energy.net_mj:.1f} mJ"
    return f"{energy.gross_mj:.1f} mJ gross, {net} above idle, over {energy.seconds:.0f} s"
