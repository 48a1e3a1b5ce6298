"""Peak memory of a model: in a process of its own, where it was asked for, and absent where it cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy import PROTOCOLS, Bundle, LatencyRecord, MeasurementFailure, ModelSource, measure_models
from deploy.engines.ort import OrtEngine
from deploy.errors import EngineError, InputError
from deploy.measuring.memory import answer_peak, explain_unreadable, measure_peak
from deploy.measuring.protocols import get_protocol
from deploy.measuring.request import MeasuringRequest, Setup
from deploy.measuring.surroundings import describe_surroundings
from deploy.targets import Condition, require_reading

MEMORY = Setup(threads=1, also=("memory",))


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locks").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "locks"))


@pytest.fixture
def heavy_model(tmp_path: Path) -> Path:
    """One linear of 64 MiB."""
    weights = numpy_helper.from_array(np.ones((4096, 4096), np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4096)) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "heavy", [x], [y], [weights])
    path = tmp_path / "heavy.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def ask(model: Path, setup: Setup = MEMORY) -> MeasuringRequest:
    return MeasuringRequest({"a": ModelSource(model)}, (), "quick", setup)


def test_each_model_has_its_own_and_the_record_keeps_it(tiny_model: Path, heavy_model: Path) -> None:
    subjects = {"heavy": ModelSource(heavy_model), "tiny": ModelSource(tiny_model)}
    records = measure_models(subjects, protocol="quick", setup=MEMORY)
    heavy, tiny = records["heavy"], records["tiny"]
    assert isinstance(heavy, LatencyRecord) and isinstance(tiny, LatencyRecord)
    assert heavy.memory_mib is not None and tiny.memory_mib is not None
    assert 64 < heavy.memory_mib - tiny.memory_mib < 1000, "measured after the heavy one, and not with it"
    assert LatencyRecord.from_json(heavy.to_json()) == heavy
    assert f"peak memory {heavy.memory_mib:.0f} MiB of the process that ran it" in describe_surroundings(heavy)


def test_it_is_read_where_it_is_asked_for_and_for_a_front() -> None:
    assert not PROTOCOLS["quick"].peak_runs and not PROTOCOLS["screen"].peak_runs
    assert get_protocol("screen", also=("memory",)).peak_runs == get_protocol("final").peak_runs > 0
    with pytest.raises(InputError, match="unknown extra 'taste'; there are: memory, energy"):
        get_protocol("quick", also=("taste",))


def test_a_model_that_cannot_be_run_alone_is_a_failure(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(request: MeasuringRequest, lock: int) -> None:
        raise EngineError("no room")

    monkeypatch.setattr("deploy.measuring.measure.measure_peak", fail)
    failed = measure_models({"a": ModelSource(tiny_model)}, protocol="quick", setup=MEMORY)["a"]
    assert isinstance(failed, MeasurementFailure) and failed.reason == "its memory could not be measured: no room"


def test_a_gpus_is_what_the_driver_says_is_in_use(
    tiny_model: Path, fake_nvml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OrtEngine, "uses_gpu", True)
    assert explain_unreadable(uses_gpu=True) == ""
    runs = get_protocol("quick", also=("memory",)).peak_runs
    assert answer_peak(ask(tiny_model).to_json(), lambda message: None) == runs << 26
    monkeypatch.setenv("FAKE_NO_MEMORY", "1")
    assert explain_unreadable(uses_gpu=True) == "the driver does not tell how much memory is in use"
    assert answer_peak(ask(tiny_model).to_json(), lambda message: None) is None


def test_what_cannot_be_read_is_absent(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.sensors.machine.OWN_STATUS", Path("/nowhere"))
    assert answer_peak(ask(tiny_model).to_json(), lambda message: None) is None
    assert explain_unreadable(uses_gpu=False) == "this system does not tell the peak memory of a process"


def test_images_pass_through_the_model_as_they_do_when_it_is_timed(
    tiny_bundle: Bundle, write_image: Callable[..., Path]
) -> None:
    large = write_image("large.png", (4000, 5000))
    asked = MeasuringRequest({"a": tiny_bundle}, (), "quick", MEMORY)
    with large.open("rb") as lock:
        without, with_image = (measure_peak(replace(asked, images=files), lock.fileno()) for files in ((), (large,)))
    assert without is not None and with_image is not None
    assert with_image - without > 50, "an image of 57 MiB is held"


def test_a_target_that_does_not_tell_is_named_with_the_reason() -> None:
    told = [Condition("works", "memory", "readable")]
    require_reading("board", told, "memory", "--max-memory")
    with pytest.raises(InputError, match=r"'board' does not tell memory, which --max-memory needs: no driver; install"):
        require_reading("board", [Condition("note", "memory", "no driver", "install it")], "memory", "--max-memory")
    with pytest.raises(InputError, match="not looked at"):
        require_reading("board", [], "memory", "--max-memory")
