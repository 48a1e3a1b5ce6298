"""What the system says of a machine is read as it is meant, and one that says nothing is no error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import deploy.sensors.machine
from deploy.measuring.device import read_fingerprint
from deploy.sensors.machine import count_physical_cores, read_busy_share


def test_hyper_threads_count_once_and_a_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    lines = [f"processor: {cpu}\nphysical id: 0\ncore id: 0\nmodel name: A: B" for cpu in allowed]
    (tmp_path / "cpuinfo").write_text("\n\n".join(lines))
    monkeypatch.setattr(deploy.sensors.machine, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(deploy.sensors.machine, "CGROUP_QUOTA", tmp_path / "absent")
    assert count_physical_cores() == 1
    assert read_fingerprint("e", 1).cpu.startswith("A: B")


def test_a_containers_quota_bounds_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy.sensors.machine, "CPU_INFO", tmp_path / "absent")
    monkeypatch.setattr(deploy.sensors.machine, "CGROUP_QUOTA", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert count_physical_cores() == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert count_physical_cores() == len(os.sched_getaffinity(0))


def test_a_system_that_tells_nothing_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CPU_INFO", "GOVERNOR", "CGROUP_QUOTA", "PROC_STAT"):
        monkeypatch.setattr(deploy.sensors.machine, name, tmp_path / "absent")
    assert read_fingerprint("e", 1).governor is None
    assert read_busy_share(0.0) is None


def test_the_busy_share_is_a_share() -> None:
    share = read_busy_share(0.05)
    assert share is None or 0 <= share <= 1
