"""ONNX Runtime's CUDA provider: on the GPU, or an error that says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from ort_cuda import pretend_ort_cuda

from deploy.engines import open_engine
from deploy.engines.cuda_driver import find_cuda_device
from deploy.errors import EngineError
from deploy.measuring.canary import write_canary
from deploy.measuring.timing import make_noise


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_canary(tmp_path / "canary.onnx")


def test_the_record_names_the_provider_and_the_gpu(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    sessions = pretend_ort_cuda(monkeypatch)
    with open_engine(model, 1, "ort-cuda") as engine:
        assert engine.runtime.endswith("CUDAExecutionProvider, NVIDIA Double")
        assert engine.notes == () and engine.last_gpu_ms is None
    assert [session.falls_back for session in sessions()] == [False]


def test_operators_left_to_the_cpu_are_said(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    pretend_ort_cuda(monkeypatch, has_all=False)
    with open_engine(model, 1, "ort-cuda") as engine:
        assert engine.notes == ("ONNX Runtime placed some operators on the CPU",)


@pytest.mark.parametrize(
    ("lack", "words"),
    [
        ("built", r"not built for CUDA: python3 -m pip install 'onnxruntime-gpu\[cuda,cudnn\]'"),
        ("loads", "does not load: Failed to load libcudnn.so.9: .*; install: "),
    ],
)
def test_a_session_on_the_cpu_alone_is_an_error(
    monkeypatch: pytest.MonkeyPatch, model: Path, capfd: pytest.CaptureFixture[str], lack: str, words: str
) -> None:
    pretend_ort_cuda(monkeypatch, **{lack: False})
    with pytest.raises(EngineError, match=words):
        open_engine(model, 1, "ort-cuda")
    assert capfd.readouterr() == ("", "")


def test_the_real_provider_runs_or_says_why_not(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No double: where there is no GPU, one line says what is missing, and the library prints nothing."""
    try:
        device = find_cuda_device()
    except EngineError:
        with pytest.raises(EngineError, match=r"onnxruntime-gpu\[cuda,cudnn\]") as caught:
            open_engine(model, 1, "ort-cuda")
        assert "\n" not in str(caught.value) and capfd.readouterr() == ("", "")
        return
    with open_engine(model, 1, "ort-cuda") as engine:
        engine.infer(make_noise(engine.inputs, 0, "canary"))
        assert device.name in engine.runtime
