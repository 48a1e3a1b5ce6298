"""The canary never changes: drift between releases would be drift of the canary."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx

from deploy.engines import open_engine
from deploy.measuring.canary import CANARY_SHA256, write_canary
from deploy.measuring.timing import make_noise


def test_the_canary_is_the_one_its_hash_says(tmp_path: Path) -> None:
    content = write_canary(tmp_path / "canary.onnx").read_bytes()
    assert hashlib.sha256(content).hexdigest() == CANARY_SHA256


def test_the_canary_is_a_valid_model_that_gives_finite_values(tmp_path: Path) -> None:
    path = write_canary(tmp_path / "canary.onnx")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 17
    with open_engine(path, threads=1) as engine:
        (output,) = engine.infer(make_noise(engine.inputs, 0, "canary")).values()
    assert output.shape == (1, 16, 56, 56) and 0 < output.max() < 1e6
