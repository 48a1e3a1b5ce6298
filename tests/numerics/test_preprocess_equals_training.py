"""One definition of preprocessing: training sees what the runtime sees, and both resize as torch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deploy.data import Dataset
from deploy.data.images import read_image
from deploy.data.records import Record
from deploy.pipeline.preprocess import Preprocess
from optimizer.data.loader import TrainLoader


@pytest.mark.parametrize("canvas", [(48, 40), (64, 48), (33, 57), (160, 120)])
def test_training_without_augmentation_equals_the_runtime_bit_for_bit(tmp_path: Path, canvas: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool)
    records = []
    for index, size in enumerate([(64, 48), (31, 90), (200, 20)]):
        path = tmp_path / f"{index}.png"
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
        records.append(Record(index, path, *size, *none))
    preprocess = Preprocess.imagenet(*canvas)
    loader = TrainLoader(Dataset(("x",), tuple(records), ()), preprocess, batch_size=3, seed=0)
    trained = {images.numpy().tobytes() for images in next(loader.epoch(0))[0]}
    deployed = {preprocess(read_image(record.path))[0].tobytes() for record in records}
    assert trained == deployed and len(trained) == 3


@pytest.mark.parametrize(
    ("size", "canvas"),
    [((64, 48), (32, 24)), ((64, 48), (128, 96)), ((64, 48), (40, 30)), ((48, 64), (60, 80)), ((640, 480), (320, 240))],
)
def test_the_resize_is_torchs_bilinear_within_a_grey_level(size: tuple[int, int], canvas: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    torchs = torch.nn.functional.interpolate(planes, size=canvas[::-1], mode="bilinear", align_corners=False)
    ours = Preprocess(*canvas).canvas(image).astype(np.float32)
    assert np.abs(ours - torchs[0].permute(1, 2, 0).numpy()).max() <= 0.5 + 1e-3


def test_a_scale_that_gives_no_whole_size_is_torchs_too() -> None:
    image = np.random.default_rng(2).integers(0, 256, (37, 61, 3), dtype=np.uint8)
    preprocess = Preprocess(50, 50)
    scale = preprocess.place(61, 37).scale
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    torchs = torch.nn.functional.interpolate(
        planes, scale_factor=scale, mode="bilinear", align_corners=False, recompute_scale_factor=False
    )[0].permute(1, 2, 0).numpy()  # fmt: skip
    height, width = torchs.shape[:2]
    ours = preprocess.canvas(image).astype(np.float32)[:height, :width]
    assert np.abs(ours - torchs).max() <= 0.5 + 1e-2
