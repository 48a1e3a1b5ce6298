"""Fingerprints tell machines apart, and nothing else."""

from __future__ import annotations

import os
from dataclasses import replace

from deploy.measuring.device import DeviceFingerprint, read_fingerprint


def test_this_machine_has_a_fingerprint() -> None:
    device = read_fingerprint("engine 1", threads=2)
    assert device.cpu and device.threads == 2 and device.load_average >= 0
    assert 1 <= device.cores <= (os.cpu_count() or 1)
    assert DeviceFingerprint.from_json(device.to_json()) == device


def test_load_does_not_make_another_device_but_a_governor_does() -> None:
    device = read_fingerprint("engine 1", threads=2)
    assert device.same_device(replace(device, load_average=99))
    assert not device.same_device(replace(device, governor="something else"))
