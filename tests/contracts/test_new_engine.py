"""A new engine is one file and one line in the catalogue: everything else asks the class."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy import LatencyRecord, ModelSource, Setup, get_target, measure_models
from deploy.builders.int8 import quantise_to_int8
from deploy.child import describe_child, describe_environment
from deploy.engines import ENGINES, open_engine
from deploy.errors import InputError
from deploy.measuring.canary import write_canary
from deploy.targets import describe_conditions

FILE = """
from pathlib import Path

import onnx
from onnx.reference import ReferenceEvaluator

from deploy.engines.base import Engine, Int8Style, TensorSpec, check_model_file, check_threads


class ToyEngine(Engine):
    packages = ("onnx",)
    install = "python3 -m pip install onnx"
    precisions = ("fp32", "int8")
    int8 = Int8Style(unsigned=True, biases=False, rest="fp32")

    def __init__(self, path, threads=None):
        super().__init__(check_model_file(path, "ONNX model"))
        check_threads(threads)
        self.threads = 1
        model = onnx.load(str(self.path))
        self._evaluator = ReferenceEvaluator(model)
        self.runtime = f"toy {onnx.__version__}"
        self.inputs, self.outputs = self._describe(model.graph.input), self._describe(model.graph.output)

    def _describe(self, entries):
        types = [(entry.name, entry.type.tensor_type) for entry in entries]
        name_of = onnx.helper.tensor_dtype_to_np_dtype
        return tuple(
            TensorSpec(name, tuple(side.dim_value for side in kind.shape.dim), name_of(kind.elem_type).name)
            for name, kind in types
        )

    def _run(self, feeds):
        names = [spec.name for spec in self.outputs]
        return dict(zip(names, self._evaluator.run(names, dict(feeds))))

    def _release(self):
        self._evaluator = None
"""
LINE = "from deploy.engines import ENGINES; from toy_engine import ToyEngine; ENGINES['toy'] = ToyEngine"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine, here and in every process that is started from here."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "toy_engine.py").write_text(FILE)
    (site / "sitecustomize.py").write_text(LINE)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    from toy_engine import ToyEngine  # type: ignore[import-not-found]

    monkeypatch.setitem(ENGINES, "toy", ToyEngine)
    return "toy"


def test_it_is_measured_in_a_process_of_its_own(toy: str, tmp_path: Path) -> None:
    model = write_canary(tmp_path / "canary.onnx")
    record = measure_models({"a": ModelSource(model)}, protocol="quick", setup=Setup(toy))["a"]
    assert isinstance(record, LatencyRecord), record
    assert record.device.runtime.startswith("toy") and record.device.threads == 1 and record.gpu_ms is None


def test_a_target_with_it_is_checked(toy: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nengine = "toy"\nprecisions = ["fp32", "int8"]\n')
    target = get_target(str(path))
    lines = describe_conditions("mine", target.check())
    assert lines[0] == "target mine: works" and any("onnx" in line for line in lines)
    assert any("engine toy: toy" in line for line in lines) and target.spec.engine.releases == ()
    path.write_text('name = "mine"\nengine = "toy"\nprecisions = ["fp16"]\n')
    with pytest.raises(InputError, match="'toy' takes: fp32, int8"):
        get_target(str(path))


def test_int8_is_written_in_its_style_and_it_runs(toy: str, tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, 8, 8]) for n, c in (("x", 3), ("y", 4)))
    model = helper.make_model(helper.make_graph([node], "g", [x], [y], [weights]))
    model.opset_import[0].version, model.ir_version = 19, 9
    converted = quantise_to_int8(model, ["conv"], {"x": (0.0, 1.0), "y": (0.0, 3.0)}, toy)
    zeros = {
        item.name: numpy_helper.to_array(item).dtype for item in converted.graph.initializer if "zero" in item.name
    }
    assert zeros["x_zero_point"] == np.uint8 and zeros["w_zero_point"] == np.int8
    onnx.save(converted, tmp_path / "int8.onnx")
    with open_engine(tmp_path / "int8.onnx", engine=toy) as engine:
        found = engine.infer({"x": np.full((1, 3, 8, 8), 0.5, np.float32)})["y"]
    assert found == pytest.approx(1.5, abs=0.02)


def test_the_command_line_lists_it(toy: str) -> None:
    code = "from deploy.cli.parser import build_parser; build_parser().parse_args(['build', '--help'])"
    words, environment = describe_child(code), describe_environment()
    assert "toy" in subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
