"""TensorRT's engine: over doubles of TensorRT and CUDA everywhere, and over the real ones where they are."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.builders.build import prepare_model
from deploy.engines import open_engine
from deploy.engines.trt import TrtEngine
from deploy.errors import EngineError, InputError

Pretend = Callable[..., Any]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """features = relu(conv(images)) of [1, 3, 8, 8] float32, and the index of each pixel's best channel, int64."""
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3), np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "weights"], ["sums"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["sums"], ["features"]),
        helper.make_node("ArgMax", ["features"], ["best"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 4, 8, 8]),
            helper.make_tensor_value_info("best", TensorProto.INT64, [1, 8, 8]),
        ],
        [numpy_helper.from_array(weights, "weights")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.save(made, tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def images(seed: int = 1) -> dict[str, np.ndarray]:
    return {"images": np.random.default_rng(seed).standard_normal((1, 3, 8, 8), np.float32)}


def open_plan_of(model: Path, level: int | None = None, folder: Path | None = None) -> TrtEngine:
    """The engine of a model's plan, which is built where there is none."""
    return TrtEngine(prepare_model(model, "trt", level, folder))


def plans_in(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "plans").glob("*/model.plan"))


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "10.16.1", "11.4.0"])
def test_outputs_are_those_of_onnx_runtime(pretend_tensorrt: Pretend, model: Path, version: str) -> None:
    pretend_tensorrt(version)
    with open_plan_of(model) as engine, open_engine(model, 1, "ort") as other:
        found, wanted = engine.infer(images()), other.infer(images())
        assert engine.last_gpu_ms is not None and engine.last_gpu_ms > 0 and other.last_gpu_ms is None
        assert np.allclose(found["features"], wanted["features"]) and (found["best"] == wanted["best"]).all()
        assert found["best"].dtype == (np.int32 if version == "8.6.1" else np.int64)
        assert engine.runtime == f"tensorrt {version}, level 3, Orin, libcudart 12.6"
        assert engine.notes == ("CUDA graph",)


def test_a_cuda_graph_is_launched_where_capture_works(pretend_tensorrt: Pretend, model: Path) -> None:
    pretend_tensorrt()
    import cudart

    with open_plan_of(model) as engine:
        cudart.forget_calls()
        engine.infer(images())
    assert cudart.calls() == [
        "cudaMemcpyHostToDevice",
        "cudaGraphLaunch",
        "cudaMemcpyDeviceToHost",
        "cudaMemcpyDeviceToHost",
    ]


def test_without_capture_the_network_is_run_directly_and_the_record_says_so(
    pretend_tensorrt: Pretend, model: Path
) -> None:
    pretend_tensorrt(cuda={"capture": False})
    with open_plan_of(model) as engine, open_engine(model, 1, "ort") as other:
        assert np.allclose(engine.infer(images())["features"], other.infer(images())["features"])
        assert engine.notes[0].startswith("no CUDA graph (")


def test_outputs_are_not_aliased_and_follow_the_input(pretend_tensorrt: Pretend, model: Path) -> None:
    pretend_tensorrt()
    with open_plan_of(model) as engine:
        first = engine.infer(images(1))["features"]
        kept = first.copy()
        second = engine.infer(images(2))["features"]
        assert np.array_equal(first, kept) and not np.array_equal(first, second)
        assert not np.shares_memory(first, second)


def test_closing_gives_back_all_memory(pretend_tensorrt: Pretend, model: Path) -> None:
    pretend_tensorrt()
    import cudart

    with open_plan_of(model) as engine:
        engine.infer(images())
        assert all(cudart.count_live().values())
    assert not any(cudart.count_live().values())


def test_a_plan_is_built_once(pretend_tensorrt: Pretend, model: Path, tmp_path: Path) -> None:
    pretend_tensorrt()
    open_plan_of(model).close()
    (plan,) = plans_in(tmp_path)
    before = plan.stat().st_mtime_ns
    open_plan_of(model).close()
    assert plan.stat().st_mtime_ns == before and plan.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "change", [{"version": "10.16.1"}, {"cuda": {"device": "Thor"}}, {"cuda": {"capability": 110}}]
)
def test_a_plan_of_another_place_is_rebuilt_and_never_loaded(
    pretend_tensorrt: Pretend, model: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    pretend_tensorrt()
    open_plan_of(model).close()
    old = plans_in(tmp_path)[0].read_bytes()
    double = pretend_tensorrt(**change)
    manifest = plans_in(tmp_path)[0].with_name("plan.json")
    before = manifest.read_bytes()
    with open_plan_of(model) as engine:
        assert engine.infer(images())
    assert manifest.read_bytes() != before
    new = plans_in(tmp_path)[0].read_bytes()
    assert [new] == double.Runtime.SEEN
    if "capability" not in change.get("cuda", {}):  # the double's plans do not depend on it
        assert new != old


@pytest.mark.parametrize("damage", ["byte", "cut", "manifest"])
def test_an_altered_plan_is_never_loaded(pretend_tensorrt: Pretend, model: Path, tmp_path: Path, damage: str) -> None:
    double = pretend_tensorrt()
    open_plan_of(model).close()
    (path,) = plans_in(tmp_path)
    whole = path.read_bytes()
    if damage == "byte":
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(whole[:100])
    else:
        path.with_name("plan.json").write_text("{")
    double.Runtime.SEEN.clear()
    open_plan_of(model).close()
    assert double.Runtime.SEEN == [whole] == [path.read_bytes()]


def test_another_model_under_the_same_name_gets_its_own_plan(
    pretend_tensorrt: Pretend, model: Path, tmp_path: Path
) -> None:
    pretend_tensorrt()
    open_plan_of(model).close()
    changed = onnx.load(model)
    changed.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "weights"))
    onnx.save(changed, model)
    with open_plan_of(model) as engine:
        assert not engine.infer(images())["features"].any()
    assert len(plans_in(tmp_path)) == 2


def test_the_best_plan_is_taken_unless_a_level_is_asked_for(
    pretend_tensorrt: Pretend, model: Path, tmp_path: Path
) -> None:
    pretend_tensorrt()
    open_plan_of(model, 5).close()
    with open_plan_of(model) as best, open_plan_of(model, 3) as plain:
        assert "level 5" in best.runtime and "level 3" in plain.runtime


def test_a_folder_that_others_may_write_to_is_refused(pretend_tensorrt: Pretend, model: Path, tmp_path: Path) -> None:
    pretend_tensorrt()
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans").chmod(0o777)
    with pytest.raises(EngineError, match=r"may be written by others; chmod 700"):
        open_plan_of(model)


def test_an_input_of_free_size_is_refused(pretend_tensorrt: Pretend, model: Path) -> None:
    pretend_tensorrt()
    free = onnx.load(model)
    free.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(free, model)
    with pytest.raises(InputError, match=r"dynamic shape, \[-1, 3, 8, 8\]"):
        open_plan_of(model)


@pytest.mark.parametrize(
    ("is_board", "words"), [(True, "python3-libnvinfer.*not for Jetsons"), (False, "pip install tensorrt")]
)
def test_a_machine_without_tensorrt_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path, is_board: bool, words: str
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    release = tmp_path / "nv_tegra_release"
    if is_board:
        release.write_text("# R36 (release)")
    monkeypatch.setattr("deploy.engines.tensorrt_library.TEGRA", (release,))
    with pytest.raises(EngineError, match=words) as caught:
        open_plan_of(model)
    assert "\n" not in str(caught.value) and ("pip install" in str(caught.value)) == (not is_board)


@pytest.mark.tensorrt
def test_the_real_thing_agrees_with_onnx_runtime(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    with open_plan_of(model, folder=tmp_path / "plans") as engine, open_engine(model, 1, "ort") as other:
        for seed in range(3):
            found, wanted = engine.infer(images(seed)), other.infer(images(seed))
            assert np.allclose(found["features"], wanted["features"], atol=2e-2)  # TF32 is allowed
            assert engine.last_gpu_ms is not None and engine.last_gpu_ms > 0
        record = engine.plan.record
    assert record["layers_by_precision"].get("fp32") and not record["degraded"]
    manifest = json.loads(next((tmp_path / "plans").glob("*/plan.json")).read_text())
    assert manifest["key"]["platform"]["tensorrt"] == record["tensorrt"]


@pytest.mark.tensorrt
@pytest.mark.parametrize("kind", ["faster_rcnn", "retinanet"])
def test_the_real_thing_detects_what_onnx_runtime_detects(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    from deploy.export import export_onnx
    from optimizer.arch import ArchSpec, BlockSpec, FasterRCNNHead, FpnSpec, ResNetSpec, RetinaNetHead, StageSpec
    from optimizer.detectors import build_detector

    heads = {"faster_rcnn": FasterRCNNHead(16, 32, region_proposals=60), "retinanet": RetinaNetHead(tower_depth=1)}
    stages = tuple(StageSpec((BlockSpec((8, 8), 1 if index == 0 else 2, projection=index > 0),)) for index in range(4))
    arch = ArchSpec((130, 98), ResNetSpec(stages, stem_width=8), FpnSpec(16), heads[kind])
    model = tmp_path / f"{kind}.onnx"
    export_onnx(build_detector(arch, num_classes=4, seed=0), arch.input_size, model, nms="matrix")
    with open_plan_of(model, folder=tmp_path / "plans") as engine, open_engine(model, 1, "ort") as other:
        shape = tuple(side for side in engine.inputs[0].shape if side is not None)
        feeds = {engine.inputs[0].name: np.random.default_rng(0).standard_normal(shape, np.float32)}
        found, wanted = engine.infer(feeds), other.infer(feeds)
    rows = int(wanted["count"][0])
    assert abs(int(found["count"][0]) - rows) <= max(1, rows // 20)
    assert np.allclose(np.sort(found["scores"])[-10:], np.sort(wanted["scores"])[-10:], atol=2e-2)
