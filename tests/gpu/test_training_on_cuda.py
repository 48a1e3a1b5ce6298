"""Training as it runs on a GPU: fp16 autocast with a scaler, both detectors, a teacher, several processes' parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from deploy import Preprocess
from deploy.data import Dataset
from optimizer.arch.spec import ArchSpec
from optimizer.data.loader import TrainLoader
from optimizer.detectors import Truth, build_detector
from optimizer.distill.config import DistillConfig
from optimizer.distill.step import DistillStep
from optimizer.supernet.calibrate import recalibrate
from optimizer.train import distributed
from optimizer.train.config import TrainConfig
from optimizer.train.distributed import World, joined_world, mean_over_ranks, said_by_first, synchronised_batchnorm
from optimizer.train.loop import train
from optimizer.train.precision import autocast_dtype
from optimizer.train.predict import predict
from optimizer.train.steps import DetectionStep

pytestmark = pytest.mark.gpu
KINDS = ("faster_rcnn", "retinanet")
CLASSES = 3
MakeArch = Callable[[str], ArchSpec]
Batch = tuple[Tensor, list[Truth]]


class OneBatch:
    """The same batch, so often; after so many steps the process may be told to stop."""

    def __init__(self, batch: Batch, steps: int, stop_at: int | None = None) -> None:
        self.batch, self.steps, self.stop_at = batch, steps, stop_at

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int, start_step: int = 0) -> Iterator[Batch]:
        for step in range(start_step, self.steps):
            if step == self.stop_at:
                raise KeyboardInterrupt
            yield self.batch


def test_a_gpu_trains_in_fp16_with_a_scaler(cuda: torch.device) -> None:
    assert autocast_dtype("auto", cuda) is torch.float16
    assert torch.amp.GradScaler(cuda.type, enabled=True).is_enabled()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_a_detector_learns_a_batch(
    cuda: torch.device, make_arch: MakeArch, batch: Batch, kind: str, precision: str
) -> None:
    detector = build_detector(make_arch(kind), CLASSES, seed=0)
    config = TrainConfig(epochs=1, lr=3e-4, precision=precision, warmup_steps=3)  # type: ignore[arg-type]
    result = train(detector.to(cuda), OneBatch(batch, 30), DetectionStep(), config, seed=0)
    losses = [loss for _, loss in result.curve]
    assert result.steps == 30 and result.skipped_batches <= 2, result
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3]), losses
    assert all(torch.isfinite(value).all() for value in detector.state_dict().values())
    assert next(detector.parameters()).device.type == "cuda"


@pytest.mark.parametrize("kind", KINDS)
def test_losses_on_the_gpu_are_those_on_the_cpu(
    cuda: torch.device, make_arch: MakeArch, batch: Batch, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp32 without TF32; the sampling of anchors and regions is random and differs by device, so all are taken."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    detector = build_detector(make_arch(kind), CLASSES, seed=0).eval()
    if kind == "faster_rcnn":
        detector.rpn.fg_bg_sampler.batch_size_per_image = detector.roi_heads.fg_bg_sampler.batch_size_per_image = 10**6
        detector.rpn.training = detector.roi_heads.training = True
        detector.rpn._post_nms_top_n["training"] = 100
    images, truths = batch
    with torch.no_grad():
        expected = detector.losses(images, truths)
        detector.to(cuda)
        found = detector.losses(images.to(cuda), [Truth(*(value.to(cuda) for value in truth)) for truth in truths])
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, rel=0.02, abs=1e-3
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_learns_beside_a_teacher(cuda: torch.device, make_arch: MakeArch, batch: Batch, kind: str) -> None:
    arch = make_arch(kind)
    student, teacher = build_detector(arch, CLASSES, seed=0), build_detector(arch, CLASSES, seed=1)
    frozen = {name: value.clone() for name, value in teacher.state_dict().items()}
    step = DistillStep(arch, teacher, DistillConfig(teacher_canvas="student", feature_regions=32)).to(cuda)
    result = train(student.to(cuda), OneBatch(batch, 12), step, TrainConfig(epochs=1, lr=1e-4), seed=0)
    assert result.skipped_batches <= 4 and all(math.isfinite(loss) for _, loss in result.curve)
    assert all(torch.equal(value.cpu(), frozen[name]) for name, value in teacher.state_dict().items())
    with torch.autocast("cuda", torch.float16):
        losses = step(student.train(), batch[0].to(cuda), [Truth(*(v.to(cuda) for v in t)) for t in batch[1]])
    added = {name: loss.item() for name, loss in losses.items() if name.startswith("distill_")}
    assert set(added) == {"distill_feature", "distill_classification", "distill_localization"}
    assert all(math.isfinite(value) and value >= 0 for value in added.values())


def test_a_training_goes_on_from_its_checkpoint(
    cuda: torch.device, make_arch: MakeArch, batch: Batch, tmp_path: Path
) -> None:
    config = TrainConfig(epochs=1, lr=1e-4, ema_decay=0.9, checkpoint_every_s=0.0)
    detector = build_detector(make_arch("faster_rcnn"), CLASSES, seed=0)
    checkpoint = tmp_path / "training.pt"
    with pytest.raises(KeyboardInterrupt):
        train(detector.to(cuda), OneBatch(batch, 8, stop_at=4), DetectionStep(), config, seed=0, checkpoint=checkpoint)
    again, seen = build_detector(make_arch("faster_rcnn"), CLASSES, seed=5), list[int]()
    result = train(
        again.to(cuda), OneBatch(batch, 8), DetectionStep(), config, seed=0, checkpoint=checkpoint,
        report=lambda progress: seen.append(progress.step),
    )  # fmt: skip
    assert seen == [5, 6, 7, 8] and result.steps == 8


def test_batchnorm_statistics_are_measured_anew(cuda: torch.device, make_arch: MakeArch, batch: Batch) -> None:
    arch, images = make_arch("faster_rcnn"), [batch[0], batch[0] + 0.5]
    found, expected = build_detector(arch, CLASSES, seed=0), build_detector(arch, CLASSES, seed=0)
    recalibrate(found, images, cuda)
    recalibrate(expected, images, torch.device("cpu"))
    for name, value in expected.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            torch.testing.assert_close(found.state_dict()[name].cpu(), value, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_detections_are_streamed_from_the_gpu(
    cuda: torch.device, make_arch: MakeArch, shapes: tuple[Dataset, Dataset], kind: str
) -> None:
    train_data, val_data = shapes
    arch = make_arch(kind)
    detector = build_detector(arch, len(train_data.class_names), seed=0)
    preprocess = Preprocess.imagenet(*arch.input_size)
    loader = TrainLoader(train_data, preprocess, batch_size=8, seed=0, workers=2)
    result = train(detector.to(cuda), loader, DetectionStep(), TrainConfig(epochs=8, lr=3e-4), seed=0)
    assert result.curve[-1][1] < result.curve[0][1]
    found = dict(predict(detector, val_data.records, preprocess, cuda))
    assert set(found) == {record.image_id for record in val_data.records}
    assert all(np.isfinite(item.boxes_xyxy).all() and np.isfinite(item.scores).all() for item in found.values())
    assert all(item.boxes_xyxy.dtype == np.float32 for item in found.values())


@pytest.fixture
def nccl_world(cuda: torch.device, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    """This process alone, joined over nccl as torchrun would start it."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    values = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with joined_world() as world:
        yield world


def test_nccl_carries_what_processes_tell_each_other(
    nccl_world: World, cuda: torch.device, make_arch: MakeArch, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One GPU is one process; it is told that there are two, so that it does all that several do, over nccl."""
    assert dist.get_backend() == "nccl" and nccl_world == World(0, 1)
    monkeypatch.setattr(distributed, "current_world", lambda: World(0, 2))
    assert mean_over_ranks(torch.tensor(3.0, device=cuda)) == 1.5  # a sum over one, halved
    assert said_by_first(7, cuda) == 7
    detector = build_detector(make_arch("faster_rcnn"), CLASSES, seed=0).to(cuda).train()
    images, truths = batch[0].to(cuda), [Truth(*(value.to(cuda) for value in truth)) for truth in batch[1]]
    with synchronised_batchnorm(detector, DetectionStep(), cuda):
        assert any(isinstance(module, nn.SyncBatchNorm) for module in detector.modules())
        losses_of = distributed.wrap_for_world(detector, DetectionStep())
        with torch.autocast("cuda", torch.float16):
            loss = torch.stack(list(losses_of(images, truths).values())).sum()
        loss.backward()
    gradients = [parameter.grad for parameter in detector.parameters() if parameter.requires_grad]
    assert sum(gradient is not None for gradient in gradients) > 0.9 * len(gradients)
    distributed.share_buffers(detector, DetectionStep())
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in detector.modules())
