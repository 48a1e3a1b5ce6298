"""Which arithmetic "auto" is."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from optimizer.train.precision import autocast_dtype

CPU = torch.device("cpu")
CPUINFO = Path("/proc/cpuinfo")


@pytest.mark.skipif(platform.machine() != "x86_64" or not CPUINFO.is_file(), reason="needs the flags of an x86 CPU")
def test_an_x86_cpu_trains_in_bf16_only_if_it_has_instructions_for_it() -> None:
    flags = next(line for line in CPUINFO.read_text().splitlines() if line.startswith("flags")).split()
    assert autocast_dtype("auto", CPU) is (torch.bfloat16 if "avx512_bf16" in flags else None)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_what_somebody_names_is_taken(precision: str, dtype: torch.dtype | None) -> None:
    assert autocast_dtype(precision, CPU) is dtype
