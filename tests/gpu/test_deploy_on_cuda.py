"""The runtime on a GPU: exports by ONNX Runtime's CUDA provider, what they cost, and the GPU's own sensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy import LatencyRecord, ModelSource, Setup, get_target, measure_models
from deploy.engines import open_engine
from deploy.engines.cuda_driver import find_cuda_device
from deploy.export import export_onnx
from deploy.pipeline.decode import get_head
from deploy.sensors.catalogue import count_gpu_processes, open_sensors
from deploy.sensors.nvml import NvmlSensor
from optimizer.arch.spec import ArchSpec
from optimizer.detectors import Detector, build_detector
from optimizer.supernet.calibrate import recalibrate

pytestmark = pytest.mark.gpu
KINDS = ("faster_rcnn", "retinanet")
CLASSES = 3


@pytest.fixture(scope="module", params=KINDS)
def detector(request: pytest.FixtureRequest, make_arch: Callable[[str], ArchSpec]) -> Detector:
    """Random weights whose scores spread enough to find something."""
    made = build_detector(make_arch(request.param), CLASSES, seed=0)
    width, height = made.arch.input_size
    recalibrate(
        made, [torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))], torch.device("cpu")
    )
    head = made.head.classification_head.cls_logits if request.param == "retinanet" else made.rpn.head.cls_logits
    with torch.no_grad():
        head.weight.mul_(20)
        head.bias.fill_(-2.0)
        if request.param == "faster_rcnn":
            made.roi_heads.box_predictor.cls_score.weight.mul_(20)
    return made.eval()


@pytest.mark.parametrize("nms", ["op", "matrix", "raw"])
def test_an_export_finds_on_the_gpu_what_it_finds_on_the_cpu(
    cuda: torch.device, detector: Detector, nms: str, tmp_path: Path
) -> None:
    """Convolutions in TF32 move scores by a hundredth, so what is compared is what is surely found."""
    size = detector.arch.input_size
    report = export_onnx(detector, size, tmp_path / "model.onnx", nms=nms)
    canvas = np.random.default_rng(3).standard_normal((1, 3, size[1], size[0]), np.float32)
    found = {}
    for engine in ("ort", "ort-cuda"):
        with open_engine(report.path, None, engine) as opened:
            outputs = opened.infer({"images": canvas})
            found[engine] = get_head(report.head).decode(outputs, size, report.selection)
    assert find_cuda_device().name in opened.runtime
    expected, got = found["ort"], found["ort-cuda"]
    assert len(expected.scores) > 5 and abs(len(got.scores) - len(expected.scores)) <= 0.2 * len(expected.scores)
    apart = np.abs(expected.boxes_xyxy[:, None] - got.boxes_xyxy[None]).max(2)
    apart[expected.labels[:, None] != got.labels[None]] = np.inf
    apart[np.abs(expected.scores[:, None] - got.scores[None]) > 0.05] = np.inf
    assert (apart.min(1) < 2.0).mean() > 0.8, apart.min(1)


def test_no_operator_of_an_export_is_left_to_the_cpu(cuda: torch.device, detector: Detector, tmp_path: Path) -> None:
    """With the NMS that the target `cuda` asks for."""
    report = export_onnx(
        detector, detector.arch.input_size, tmp_path / "m.onnx", nms=get_target("cuda").spec.engine.nms
    )
    with open_engine(report.path, None, "ort-cuda") as engine:
        assert engine.notes == ()


def test_a_measurement_on_the_gpu_has_its_clocks_and_its_name(
    cuda: torch.device, detector: Detector, tmp_path: Path
) -> None:
    model = export_onnx(detector, detector.arch.input_size, tmp_path / "m.onnx", nms="matrix").path
    records = measure_models({"m": ModelSource(model)}, protocol="quick", setup=Setup("ort-cuda", target="cuda"))
    record = records["m"]
    assert isinstance(record, LatencyRecord), record
    assert record.median_ms > 0 and find_cuda_device().name in record.device.runtime
    (conditions,) = record.conditions
    assert conditions.gpu_mhz is not None and conditions.gpu_mhz[0] > 0 and conditions.throttle is not None


def test_the_target_cuda_works(cuda: torch.device) -> None:
    from deploy.targets import require_working

    require_working("cuda", get_target("cuda").check())


def test_nvml_reads_the_gpu(cuda: torch.device) -> None:
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    sensor = NvmlSensor()
    torch.randn(4096, 4096, device=cuda).matmul(torch.randn(4096, 4096, device=cuda)).sum().item()
    try:
        reading = sensor.read()
    finally:
        sensor.close()
    assert reading.temperature_c is not None and 10 < reading.temperature_c < 110
    assert reading.gpu_mhz is not None and 100 < reading.gpu_mhz < 5000
    assert reading.memory_mhz is not None and reading.memory_mhz > 100
    assert reading.power_mw is not None and 5e3 < reading.power_mw < 2e6
    assert reading.throttle is not None and not any(name.startswith("reason 0x") for name in reading.throttle)


def test_processes_on_the_gpu_are_counted(cuda: torch.device) -> None:
    """This one is there at least, unless a container hides who is; then the driver says none."""
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    torch.zeros(1, device=cuda)
    assert count_gpu_processes() is not None


def test_nvml_is_among_the_sensors_of_a_gpus_measurement(cuda: torch.device) -> None:
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    sensors = open_sensors(gpu=True, interval_s=0.1)
    assert any(isinstance(sensor, NvmlSensor) for sensor in sensors)
    for sensor in sensors:
        sensor.close()
