"""The measuring machinery, end to end on tiny models: what is recorded, not how fast anything is."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy import PROTOCOLS, Bundle, LatencyRecord, MeasurementFailure, ModelSource, compare, measure_models
from deploy.engines import ENGINES, TensorSpec
from deploy.engines.ort import OrtEngine
from deploy.errors import InputError, MeasurementError
from deploy.files import hash_file
from deploy.measuring.intervals import FEWEST_VALUES
from deploy.measuring.job import Job, do_job
from deploy.measuring.lease import lease_device
from deploy.measuring.measure import _merge
from deploy.measuring.protocols import EXTRAS, MODES
from deploy.measuring.request import MeasuringRequest, Setup
from deploy.measuring.surroundings import describe_surroundings
from deploy.measuring.timing import make_noise
from deploy.measuring.watching import SENSOR_INTERVAL_S, warn_if_busy
from deploy.pipeline.preprocess import Preprocess
from deploy.sensors import Conditions


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lock files of this test alone, so that tests may run beside a real measurement."""
    (tmp_path / "locks").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "locks"))


ONE = Setup(threads=1)


def job(subjects: dict[str, ModelSource], engine: str = "ort", mode: str = "sustained") -> Job:
    return Job(MeasuringRequest(subjects, (), "quick", Setup(engine, 1, mode)), "lease", ("busy",))


def keep_quiet(line: str) -> None:
    """Takes what a measurement says."""


def test_a_bare_model_is_fed_noise_and_the_record_says_so(tiny_model: Path) -> None:
    record = measure_models({"tiny": ModelSource(tiny_model)}, protocol="quick", setup=ONE)["tiny"]
    assert isinstance(record, LatencyRecord)
    assert record.feeds == "noise, seed 0" and record.images_sha256 is None and record.pre_ms is None
    assert record.model_sha256 == hash_file(tiny_model)
    assert record.device.threads == 1 and "onnxruntime" in record.device.runtime
    assert len(record.samples_ms) >= 5 and record.warm_up[0].runs >= 3
    assert any("quick protocol" in flag for flag in record.flags)
    assert record.bound in ("all windows timed", "time cap")


def test_a_bundle_is_fed_images_through_its_own_preprocessing(
    tiny_bundle: Bundle, write_image: Callable[..., Path]
) -> None:
    images = [write_image("one.png"), write_image("two.png", (30, 90))]
    record = measure_models({"tiny": tiny_bundle}, images, "quick", setup=ONE)["tiny"]
    assert isinstance(record, LatencyRecord)
    assert record.feeds == "2 images, the bundle's preprocessing" and record.images_sha256 is not None
    assert record.pre_ms is not None and record.pre_ms > 0
    again = measure_models({"tiny": tiny_bundle}, images[::-1], "quick", setup=ONE)["tiny"]
    assert isinstance(again, LatencyRecord) and again.images_sha256 != record.images_sha256, "their order counts"


def test_a_bare_model_can_be_fed_images_and_the_record_says_how(
    tiny_model: Path, write_image: Callable[..., Path]
) -> None:
    subject = ModelSource(tiny_model, Preprocess(64, 48))
    record = measure_models({"tiny": subject}, [write_image()], "quick", setup=ONE)["tiny"]
    assert isinstance(record, LatencyRecord)
    assert record.feeds == "1 images, values as given, not the model's own" and record.pre_ms is None


def test_models_of_one_lease_have_their_windows_in_step(tiny_bundle: Bundle, tiny_model: Path) -> None:
    records = measure_models({"a": tiny_bundle, "b": ModelSource(tiny_model)}, protocol="quick", setup=ONE)
    a, b = records["a"], records["b"]
    assert isinstance(a, LatencyRecord) and isinstance(b, LatencyRecord)
    assert a.lease == b.lease and a.canaries == b.canaries and len(a.windows_ms) == len(b.windows_ms)
    assert compare(a, b).ratio > 0


def test_a_slow_model_has_windows_enough_to_be_told_apart(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = replace(PROTOCOLS["screen"], warm_up_cap_s=0.0, cap_s=0.0, window_s=0.0, canary_s=0.0, retries=0)
    monkeypatch.setitem(PROTOCOLS, "quick", rules)  # time is up before it begins, as it is for a model of seconds
    subjects = {"a": ModelSource(tiny_model), "b": ModelSource(tiny_model)}
    for record in do_job(job(subjects)).values():
        assert isinstance(record, LatencyRecord) and record.bound == "time cap"
        assert [len(window) for window in record.windows_ms] == [rules.window_min_runs] * FEWEST_VALUES


@pytest.mark.parametrize(("limit", "leases"), [(0.0, 2), (1e9, 1)])
def test_a_lease_is_repeated_if_the_canary_drifts_by_more_than_its_level_allows(
    limit: float, leases: int, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = replace(PROTOCOLS["quick"], drift_limit=-1.0, repeat_drift=limit - 1e-9, retries=1)
    monkeypatch.setitem(PROTOCOLS, "quick", rules)
    said: list[str] = []
    record = do_job(job({"a": ModelSource(tiny_model)}), said.append)["a"]
    assert isinstance(record, LatencyRecord) and any("canary drifted" in flag for flag in record.flags)
    assert said.count("warming up a") == leases


def test_a_model_that_cannot_run_is_a_failure_and_the_others_go_on(tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model" * 20)
    records = measure_models({"good": ModelSource(tiny_model), "bad": ModelSource(broken)}, protocol="quick", setup=ONE)
    assert isinstance(records["good"], LatencyRecord)
    failure = records["bad"]
    assert isinstance(failure, MeasurementFailure) and "broken.onnx" in failure.reason
    assert failure.to_json()["error"] == failure.reason


def test_one_model_alone_that_cannot_run_is_a_failure_too(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model" * 20)
    assert isinstance(measure_models({"bad": ModelSource(broken)}, protocol="quick")["bad"], MeasurementFailure)


@pytest.mark.parametrize(
    ("level", "name", "words"),
    [("sloppy", "tiny.onnx", "unknown protocol 'sloppy'.*screen"), ("quick", "absent.onnx", "there is no model")],
)
def test_wrong_requests_are_refused_before_any_work(tiny_model: Path, level: str, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        measure_models({"tiny": ModelSource(tiny_model.with_name(name))}, protocol=level)


def test_nothing_to_measure_is_said() -> None:
    with pytest.raises(InputError, match="no model"):
        measure_models({})


def test_what_a_measurement_does_is_said(tiny_bundle: Bundle) -> None:
    said: list[str] = []
    measure_models({"tiny": tiny_bundle}, protocol="quick", setup=ONE, report=said.append)
    assert said[:2] == ["warming up tiny", "timing tiny: round 1"]


def test_an_engine_that_ends_its_process_before_any_model_is_no_models_fault(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(MeasurementError, match="no model was running, and the process ended with 1: no message"):
        measure_models({"tiny": ModelSource(tiny_model)}, protocol="quick")


DEADLY = """
import os, signal
from deploy.engines.ort import OrtEngine
plain = OrtEngine._run
def run(self, feeds):
    if self.path.name == "deadly.onnx":
        os.kill(os.getpid(), signal.SIGSEGV)
    return plain(self, feeds)
OrtEngine._run = run
"""


def test_a_model_that_ends_its_process_costs_no_other_its_latency(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(DEADLY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    deadly = shutil.copy(tiny_model, tmp_path / "deadly.onnx")
    subjects = {name: ModelSource(model) for name, model in (("a", tiny_model), ("b", deadly), ("c", tiny_model))}
    said: list[str] = []
    monkeypatch.setitem(PROTOCOLS, "quick", replace(PROTOCOLS["quick"], processes=2))
    records = measure_models(subjects, protocol="quick", setup=ONE, report=said.append)
    assert isinstance(records["a"], LatencyRecord) and isinstance(records["c"], LatencyRecord)
    failure = records["b"]
    assert isinstance(failure, MeasurementFailure) and "ended by SIGSEGV" in failure.reason
    assert [line for line in said if "SIGSEGV" in line] == [f"b: {failure.reason}"], "it is not tried again"
    assert len(records["a"].warm_up) == 2 and not list((tmp_path / "locks").glob("c*")), "nothing is left behind"


def test_an_error_in_a_child_is_raised_as_what_it_is(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken\.png is not an image"):
        measure_models({"tiny": tiny_bundle}, [tmp_path / "broken.png"], "quick")


def test_processes_are_merged_in_order_and_one_failure_is_a_failure(tiny_model: Path) -> None:
    records = [do_job(job({"a": ModelSource(tiny_model)}))["a"] for _ in range(2)]
    merged = _merge(records)
    assert isinstance(merged, LatencyRecord)
    assert merged.windows_ms == records[0].windows_ms + records[1].windows_ms  # type: ignore[union-attr]
    assert len(merged.canaries) == len(merged.warm_up) == 2
    failure = MeasurementFailure("quick", "m", "cpu", "why")
    assert _merge([records[0], failure]) is failure


def test_the_collector_is_as_it_was_afterwards(tiny_model: Path) -> None:
    assert gc.isenabled()
    do_job(job({"a": ModelSource(tiny_model)}))
    assert gc.isenabled()


def test_every_record_says_its_mode_and_what_the_device_told(tiny_model: Path) -> None:
    record = measure_models({"a": ModelSource(tiny_model)}, protocol="quick", setup=ONE)["a"]
    assert isinstance(record, LatencyRecord)
    assert record.mode == "sustained" and len(record.conditions) == 1 and not record.device.clocks_locked
    assert record.gpu_ms is None and record.energy is None, "a CPU has none, and quick does not meter energy"


def test_burst_rests_before_every_run(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODES, "burst", 0.01)
    started = time.monotonic()
    record = do_job(job({"a": ModelSource(tiny_model)}, mode="burst"))["a"]
    assert isinstance(record, LatencyRecord) and record.mode == "burst"
    runs = len(record.samples_ms) + record.warm_up[0].runs
    assert runs >= 18 and time.monotonic() - started >= 0.01 * runs
    assert record.median_ms < 10, "the rest is not timed"


class GpuEngine(OrtEngine):
    """ONNX Runtime, with a GPU time as an engine on a GPU reports it."""

    uses_gpu = True

    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.last_gpu_ms = 0.25
        return super()._run(feeds)


def test_gpu_time_is_a_number_of_its_own(
    tiny_bundle: Bundle, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "gpu", GpuEngine)
    subjects = {"bundle": tiny_bundle, "bare": ModelSource(tiny_model)}
    for record in do_job(job(subjects, "gpu")).values():
        assert isinstance(record, LatencyRecord) and record.gpu_ms == 0.25


@pytest.fixture
def on_gpu(fake_nvml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every engine counts as one of a GPU, which is the played one, and `quick` meters energy."""
    monkeypatch.setattr(OrtEngine, "uses_gpu", True)
    monkeypatch.setitem(SENSOR_INTERVAL_S, "gpu", 0.02)
    monkeypatch.setitem(PROTOCOLS, "quick", replace(PROTOCOLS["quick"], windows=40, idle_s=0.3, energy_s=0.3))


def test_a_gpu_is_watched_and_its_energy_metered(
    on_gpu: None, tiny_bundle: Bundle, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_PROCESSES", "1")
    monkeypatch.setenv("FAKE_REASONS", "0x4")
    subjects = {"a": tiny_bundle, "b": ModelSource(tiny_model)}
    for record in do_job(replace(job(subjects), flags=tuple(warn_if_busy(True)))).values():
        assert isinstance(record, LatencyRecord) and record.energy is not None
        (conditions,) = record.conditions
        assert conditions.gpu_mhz == (1410, 1410) and conditions.start_c == 61 and conditions.samples >= 2
        assert record.energy.gross_mj == pytest.approx(5000 * record.energy.seconds / record.energy.frames, rel=0.3)
        assert record.energy.idle_mw == pytest.approx(5000, rel=0.3) and record.energy.frames > 1
        text = " ".join(record.flags)
        assert "clocks were limited: sw power cap" in text and "on the GPU before the start: 1" in text
        assert LatencyRecord.from_json(record.to_json()) == record
        lines = "; ".join(describe_surroundings(record))
        assert "GPU clock 1410 to 1410 MHz" in lines and "mJ gross" in lines


def test_energy_is_metered_by_any_protocol_where_it_is_asked_for(
    fake_nvml: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OrtEngine, "uses_gpu", True)
    monkeypatch.setitem(EXTRAS, "energy", {"energy_s": 0.5, "idle_s": 0.3})
    asked = job({"a": ModelSource(tiny_model)})
    setup = replace(asked.request.setup, also=("energy",))
    record = do_job(replace(asked, request=replace(asked.request, setup=setup)))["a"]
    assert isinstance(record, LatencyRecord) and record.energy is not None
    assert record.energy.gross_mj == pytest.approx(5000 * record.energy.seconds / record.energy.frames, rel=0.3)
    assert "mJ gross" in describe_surroundings(record)[-1]


def test_a_gpu_that_slows_itself_down_gives_no_latency(
    on_gpu: None, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_REASONS", "0x40")
    with pytest.raises(MeasurementError, match=r"slowed itself down .* hw thermal slowdown .*measure again"):
        do_job(job({"a": ModelSource(tiny_model)}))


def test_energy_that_cannot_be_read_is_absent_and_said(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.sensors.catalogue.SYSFS", Path("/nowhere"))
    monkeypatch.setitem(PROTOCOLS, "quick", replace(PROTOCOLS["quick"], idle_s=60, energy_s=60))
    record = do_job(job({"a": ModelSource(tiny_model)}))["a"]
    assert isinstance(record, LatencyRecord) and record.energy is None and record.to_json()["energy"] is None
    lines = describe_surroundings(record)
    assert "energy per frame not readable here" in lines
    assert lines[0] == "temperature not readable here; CPU clock not readable here; GPU clock not readable here"


def test_clocks_of_a_timing_between_two_readings_are_not_called_unreadable(tiny_model: Path) -> None:
    record = measure_models({"a": ModelSource(tiny_model)}, protocol="quick", setup=ONE)["a"]
    assert isinstance(record, LatencyRecord)
    brief = replace(record, conditions=(Conditions(start_c=49.0, end_c=50.0),))
    assert "GPU clock timed too briefly to be read" in describe_surroundings(brief)[0]


def test_noise_is_seeded_and_of_the_declared_type() -> None:
    specs = [TensorSpec("a", (2, 3), "float16"), TensorSpec("b", (64,), "uint8"), TensorSpec("c", (), "int64")]
    noise, again = make_noise(specs, 3, "m"), make_noise(specs, 3, "m")
    assert [noise[spec.name].dtype.name for spec in specs] == ["float16", "uint8", "int64"]
    assert [noise[spec.name].shape for spec in specs] == [(2, 3), (64,), ()]
    assert noise["b"].max() > 100 and all(np.array_equal(noise[key], again[key]) for key in noise)


def test_a_free_dimension_cannot_be_fed() -> None:
    with pytest.raises(InputError, match=r"'x' \[\?, 3\] float32 has a free dimension"):
        make_noise([TensorSpec("x", (None, 3), "float32")], 0, "m")


def test_a_device_is_leased_to_one_at_a_time() -> None:
    with lease_device("toy"):
        words = f"'toy' is being measured by process {os.getpid()}"
        with pytest.raises(MeasurementError, match=words), lease_device("toy", timeout_s=0.05):
            pass
        with pytest.raises(MeasurementError), lease_device("another name of this machine", timeout_s=0.05):
            pass
    with lease_device("toy", timeout_s=0):
        pass


def test_a_child_that_outlives_its_parent_keeps_the_device() -> None:
    with lease_device("toy") as lock:
        child = subprocess.Popen(["sleep", "30"], pass_fds=(lock,))
    try:
        with pytest.raises(MeasurementError), lease_device("toy", timeout_s=0):
            pass
    finally:
        child.kill()
        child.wait()
    with lease_device("toy", timeout_s=0):
        pass


def test_a_lease_ends_with_an_exception() -> None:
    with pytest.raises(KeyError), lease_device("toy"):
        raise KeyError
    with lease_device("toy", timeout_s=0):
        pass


@pytest.mark.parametrize("level", sorted(PROTOCOLS))
def test_levels_are_consistent(level: str) -> None:
    protocol = PROTOCOLS[level]
    assert protocol.warm_up_cap_s >= protocol.warm_up_s and protocol.repeat_drift >= protocol.drift_limit
    assert protocol.window_s < protocol.cap_s and protocol.window_min_runs <= protocol.window_runs
    assert 1 <= protocol.min_windows <= protocol.windows
    if protocol.caveat is None:
        assert protocol.processes * protocol.min_windows >= FEWEST_VALUES, "a slow model can be told apart too"
