"""Building plans in child processes, over a double of TensorRT: bounds, retries, types asked for and found, records."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deploy.builders.build import BuildLimits, build_plan, name_timing_cache, open_plan
from deploy.builders.trt import limit_workspace
from deploy.engines import open_engine
from deploy.engines.plan import BuildSettings, Plan, PlanKey, Platform
from deploy.errors import EngineError, InputError
from deploy.files import hash_file

Pretend = Callable[..., Any]
MakeModel = Callable[..., onnx.ModelProto]
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
SKIPPED = "UNSUPPORTED_STATE: Skipping tactic {} due to insufficient memory on requested size of 1048576000 detected"
REQUESTED = "Tactic Device request: 1000MB Available: 302MB. Device memory is insufficient to use tactic."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "plans"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def write_graph(tmp_path: Path, make_model: MakeModel) -> Callable[..., Path]:
    """Writes a model that computes in FP32, FP16 or INT8, with a TopK if asked."""

    def write(precision: str = "fp32", topk: bool = False, opset: int = 17) -> Path:
        number = {"fp32": FLOAT, "fp16": HALF, "int8": FLOAT}[precision]
        nodes = [helper.make_node("Cast", ["x"], ["a"], to=number)]
        if precision == "int8":
            nodes += [
                helper.make_node("QuantizeLinear", ["a", "scale", "zero"], ["q"]),
                helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["b"]),
            ]
        else:
            nodes.append(helper.make_node("Relu", ["a"], ["b"]))
        nodes.append(helper.make_node("Cast", ["b"], ["y"], to=FLOAT))
        outputs: dict[str, tuple[int, Sequence[int]]] = {"y": (FLOAT, [1, 4])}
        if topk:
            nodes.append(helper.make_node("TopK", ["y", "k"], ["best", "places"]))
            outputs.update(best=(FLOAT, [1, 2]), places=(TensorProto.INT64, [1, 2]))
        constants = {"scale": np.array(0.1, np.float32), "zero": np.array(0, np.int8), "k": np.array([2])}
        made = make_model(nodes, {"x": (FLOAT, [1, 4])}, outputs, constants, opset)
        made.ir_version = 8
        path = tmp_path / f"{precision}.onnx"
        onnx.save(made, path)
        return path

    return write


def build(model: Path, folder: Path, version: str = "10.3.0", level: int = 3, **limits: Any) -> Plan:
    key = PlanKey(hash_file(model), Platform(version, "Orin", "8.7", "12.6"), BuildSettings(level))
    return build_plan(model, key, folder, BuildLimits(**limits))


def header_of(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(plan.content.partition(b"\n")[0])
    return found


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "10.16.1", "11.4.0"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_types_come_from_the_graph_and_flags_are_set_only_without_strong_typing(
    pretend_tensorrt: Pretend, folder: Path, write_graph: Callable[..., Path], version: str, precision: str
) -> None:
    pretend_tensorrt(version)
    plan = build(write_graph(precision), folder, version)
    header = header_of(plan)
    assert header["typed"] == plan.record["strongly_typed"] == (version != "8.6.1")
    assert header["flags"] == ([precision.upper()] if version == "8.6.1" and precision != "fp32" else [])
    assert plan.record["precision"] == precision and plan.record["layers_by_precision"][precision] >= 1
    assert plan.record["labels"] == []


@pytest.mark.parametrize("asked", ["fp16", "int8"])
def test_an_engine_of_another_precision_is_refused_without_a_second_try(
    pretend_tensorrt: Pretend, folder: Path, write_graph: Callable[..., Path], asked: str
) -> None:
    pretend_tensorrt("11.4.0", type="Float")
    with pytest.raises(EngineError, match=f"does not have the precision of its graph: no layer is {asked}"):
        build(write_graph(asked), folder, "11.4.0")
    assert not list(folder.glob("*/model.plan"))
    assert (folder / "build.log").read_text().count("level ") == 1


def test_the_record_says_what_the_build_took(
    pretend_tensorrt: Pretend, folder: Path, write_graph: Callable[..., Path]
) -> None:
    pretend_tensorrt()
    record = build(write_graph(), folder).record
    assert record["attempts"][0]["outcome"] == "built" and record["attempts"][0]["seconds"] > 0
    assert record["attempts"][0]["lowest_available_bytes"] <= record["attempts"][0]["available_bytes_at_start"]
    assert record["workspace_bytes"] == min(1 << 30, record["free_bytes_at_start"] // 4)
    assert record["peak_host_bytes"] > 1 << 20 and record["engine_bytes"] > 0
    assert (record["level"], record["warnings"], record["skipped_tactics"]) == (3, [], 0)
    assert record["device_memory_bytes"] == 4096 and record["timing_cache"] == "new"


def test_tactics_left_out_for_memory_are_counted_once_and_degrade_the_plan(
    pretend_tensorrt: Pretend, folder: Path, write_graph: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    messages = [line for number in range(3) for line in (REQUESTED, SKIPPED.format(number))]
    pretend_tensorrt(messages=[*messages, "a weight is subnormal", "Skipping tactic 3 due to insuficient memory on"])
    record = build(write_graph(), folder).record
    assert record["degraded"] and record["skipped_tactics"] == 4 and record["warning_count"] == 8
    assert record["labels"] == ["degraded: 4 tactics were left out for lack of memory"]
    assert "fp32.onnx: degraded: 4 tactics" in caplog.text


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("none", "could not find any implementation for node a"),
        ("crash", "ended by SIGKILL (the system may have run out of memory)"),
    ],
)
def test_a_failed_build_is_tried_once_more_with_less_effort(
    pretend_tensorrt: Pretend,
    folder: Path,
    write_graph: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    behaviour: str,
    words: str,
) -> None:
    pretend_tensorrt(build={"3": behaviour})
    record = build(write_graph(), folder).record
    assert [attempt["level"] for attempt in record["attempts"]] == [3, 1] and record["level"] == 1
    assert words in record["attempts"][0]["outcome"] and record["attempts"][1]["outcome"] == "built"
    assert record["labels"] == ["built at level 1, not 3"]
    assert words in caplog.text and "built at level 1, not 3" in caplog.text
    log = (folder / "build.log").read_text()
    assert words in log and "level 1: built" in log


def test_two_failures_end_it_with_both_reasons(
    pretend_tensorrt: Pretend, folder: Path, write_graph: Callable[..., Path]
) -> None:
    pretend_tensorrt(build={"3": "crash", "1": "none"})
    with pytest.raises(EngineError, match=r"ended by SIGKILL.*then, at level 1: .*could not find.*build\.log"):
        build(write_graph(), folder)
    assert not list(folder.glob("*/plan.json")) and not list(folder.glob("build-*"))


def test_a_build_that_takes_too_long_is_ended(
    pretend_tensorrt: Pretend, folder: Path, write_graph: Callable[..., Path]
) -> None:
    pretend_tensorrt(build={"3": "hang", "1": "hang"})
    started = time.monotonic()
    with pytest.raises(EngineError, match=r"took longer than 0\.3 s; then, at level 1: .*took longer"):
        build(write_graph(), folder, seconds=0.3)
    assert time.monotonic() - started < 60  # the double would hang for 120 s each


def test_a_build_that_leaves_too_little_memory_is_ended(
    pretend_tensorrt: Pretend, folder: Path, write_graph: Callable[..., Path]
) -> None:
    pretend_tensorrt(build={"3": "hang", "1": "hang"})
    with pytest.raises(EngineError, match=r"it left \d+ MiB of memory, and \d+ are to stay free"):
        build(write_graph(), folder, reserve_bytes=1 << 50)


def test_a_disk_that_is_full_for_the_builders_log_is_said(
    pretend_tensorrt: Pretend, folder: Path, write_graph: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_tensorrt()
    open_ = Path.open

    def fail(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if mode == "w+b":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return open_(path, mode, *rest, **options)

    model = write_graph()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left on device"):
        patch.setattr(Path, "open", fail)
        build(model, folder)
    assert build(model, folder).path.exists()


def test_what_is_no_model_is_said_at_once(pretend_tensorrt: Pretend, folder: Path, tmp_path: Path) -> None:
    pretend_tensorrt()
    (tmp_path / "odd.onnx").write_bytes(b"not a model at all" * 9)
    with pytest.raises(InputError, match=r"odd\.onnx is not a model that TensorRT 10\.3\.0 takes"):
        build(tmp_path / "odd.onnx", folder)
    assert (folder / "build.log").read_text().count("level ") == 1


@pytest.mark.parametrize(
    ("version", "precision", "topk", "words"),
    [
        ("10.3.0", "int8", True, "checkLinks.*FP16 or FP32, or TensorRT 10.7"),
        ("10.3.0", "int8", False, None),
        ("10.3.0", "fp16", True, None),
        ("10.16.1", "int8", True, None),
    ],
)
def test_known_bad_combinations_are_refused_before_they_are_built(
    pretend_tensorrt: Pretend,
    folder: Path,
    write_graph: Callable[..., Path],
    version: str,
    precision: str,
    topk: bool,
    words: str | None,
) -> None:
    pretend_tensorrt(version)
    model = write_graph(precision, topk)
    if words is None:
        assert build(model, folder, version).record["precision"] == precision
    else:
        with pytest.raises(EngineError, match=words):
            build(model, folder, version)


def test_timings_are_kept_for_one_device_release_and_power_mode(
    pretend_tensorrt: Pretend, folder: Path, write_graph: Callable[..., Path]
) -> None:
    pretend_tensorrt()
    first, second = build(write_graph(), folder), build(write_graph("fp16"), folder)
    assert (first.record["timing_cache"], second.record["timing_cache"]) == ("new", "used")
    (cache,) = folder.glob("timing-*.cache")
    assert cache.stat().st_mode & 0o777 == 0o600
    cache.write_bytes(b"of elsewhere")
    assert build(write_graph("int8"), folder).record["timing_cache"] == "refused by TensorRT, begun anew"
    platform = Platform("10.3.0", "Orin", "8.7", "12.6")
    names = {
        name_timing_cache(platform, "15W"),
        name_timing_cache(platform, "MAXN"),
        name_timing_cache(Platform("10.3.1", "Orin", "8.7", "12.6"), "15W"),
        name_timing_cache(Platform("10.3.0", "Thor", "11.0", "12.6"), "15W"),
    }
    assert len(names) == 4


def test_a_plan_out_of_the_folder_is_the_one_that_was_put_there(
    pretend_tensorrt: Pretend, folder: Path, write_graph: Callable[..., Path]
) -> None:
    pretend_tensorrt()
    model, platform = write_graph(), Platform("10.3.0", "Orin", "8.7", "12.6")
    built = open_plan(model, platform, 3, folder)
    assert open_plan(model, platform, 3, folder) == built
    assert open_plan(model, platform, 5, folder).path != built.path


def test_scratch_memory_is_a_quarter_of_what_is_free_and_at_most_a_gibibyte() -> None:
    assert limit_workspace(8 << 30) == 1 << 30
    assert limit_workspace(1 << 30) == 1 << 28


def test_a_build_takes_nothing_out_of_the_current_folder(
    pretend_tensorrt: Pretend,
    folder: Path,
    write_graph: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_tensorrt()
    here = tmp_path / "here"
    here.mkdir()
    for name in ("deploy", "tensorrt", "json"):
        (here / f"{name}.py").write_text("raise SystemExit('out of the current folder')")
    monkeypatch.chdir(here)
    assert build(write_graph(), folder).record["attempts"][0]["outcome"] == "built"


def test_opening_an_engine_builds_nothing(
    pretend_tensorrt: Pretend, folder: Path, write_graph: Callable[..., Path]
) -> None:
    pretend_tensorrt()
    model = write_graph()
    with pytest.raises(InputError, match=r"fp32\.onnx is not a plan.*deploy build"):
        open_engine(model, engine="trt")
    with open_engine(build(model, folder).path, engine="trt") as engine:
        assert engine.name == "fp32.onnx" and engine.runtime.startswith("tensorrt 10.3.0, level 3, Orin")


def test_a_plan_is_loaded_only_where_it_was_built_for(
    pretend_tensorrt: Pretend, folder: Path, write_graph: Callable[..., Path]
) -> None:
    pretend_tensorrt()
    path = build(write_graph(), folder).path
    pretend_tensorrt(cuda={"device": "Thor"})
    with pytest.raises(
        EngineError, match="not for this machine: it is of device Orin, and this is Thor; build it here"
    ):
        open_engine(path, engine="trt")
    pretend_tensorrt()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(EngineError, match="was altered or cut short"):
        open_engine(path, engine="trt")
