"""NVML played by a C library with its signatures, so that every call goes through ctypes as it would on a GPU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NAME = "libnvidia-ml.so.1"


@pytest.fixture(scope="session")
def built_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler (cc or gcc)")
    path = tmp_path_factory.mktemp("nvml") / NAME
    source = Path(__file__).with_name("fake_nvml.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(path), str(source)], check=True)
    return path


@pytest.fixture
def fake_nvml(built_nvml: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Found by this process and, through the loader's path, by its children; a GPU of 5 W that nothing slows down."""
    monkeypatch.setattr("deploy.sensors.nvml.LIBRARY", str(built_nvml))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(built_nvml.parent))
    monkeypatch.setenv("FAKE_WATTS", "5")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return built_nvml
