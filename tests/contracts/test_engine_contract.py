"""What every engine does, whichever library executes the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from ort_cuda import pretend_ort_cuda

from deploy.builders.build import prepare_model
from deploy.engines import ENGINES, Engine, TensorSpec, open_engine
from deploy.errors import EngineError, InputError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_sums(tmp_path / "sums.onnx", 2)


def write_sums(path: Path, length: int | str) -> Path:
    """sum = a + b (1, 3) float32, and doubled = 2 n, so many of int64 (any number, if ``length`` is a name)."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Add", ["n", "n"], ["doubled"])]
    pair = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("a", "b", "sum")]
    free = [helper.make_tensor_value_info(name, TensorProto.INT64, [length]) for name in ("n", "doubled")]
    graph = helper.make_graph(nodes, "sums", [*pair[:2], free[0]], [pair[2], free[1]])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.save(made, path)
    return path


@pytest.fixture(params=sorted(ENGINES))
def name(request: pytest.FixtureRequest) -> str:
    """Each engine; those of a GPU over doubles of their libraries, as there is none where this runs."""
    if request.param in ("trt", "trt-rtx"):
        request.getfixturevalue("pretend_tensorrt")()
    if request.param == "ort-cuda":
        pretend_ort_cuda(request.getfixturevalue("monkeypatch"))
    return str(request.param)


def open_model(model: Path, name: str, threads: int | None = None) -> Engine:
    """A model by an engine, by way of a plan where the engine executes plans."""
    return open_engine(prepare_model(model, name), threads, name)


def feeds(value: float = 1.0, numbers: int = 2) -> dict[str, np.ndarray]:
    return {
        "a": np.full((1, 3), value, np.float32),
        "b": np.ones((1, 3), np.float32),
        "n": np.arange(numbers),
    }


def test_outputs_come_by_name_with_the_declared_types(name: str, model: Path) -> None:
    with open_model(model, name, 1) as engine:
        outputs = engine.infer(feeds(2.0))
    assert outputs["sum"].tolist() == [[3, 3, 3]] and outputs["sum"].dtype == np.float32
    assert outputs["doubled"].tolist() == [0, 2]


def test_inputs_and_outputs_are_described(name: str, model: Path) -> None:
    with open_model(model, name) as engine:
        assert engine.inputs == (
            TensorSpec("a", (1, 3), "float32"),
            TensorSpec("b", (1, 3), "float32"),
            TensorSpec("n", (2,), "int64"),
        )
        assert [spec.name for spec in engine.outputs] == ["sum", "doubled"]
        assert engine.threads >= 1 and engine.runtime


def test_a_later_call_does_not_change_earlier_outputs(name: str, model: Path) -> None:
    with open_model(model, name) as engine:
        first = engine.infer(feeds(1.0))["sum"]
        engine.infer(feeds(7.0))
        assert first.tolist() == [[2, 2, 2]]


def test_inputs_are_not_written_to(name: str, model: Path) -> None:
    given = feeds(3.0)
    with open_model(model, name) as engine:
        engine.infer(given)["sum"][:] = -1
    assert given["a"].tolist() == [[3, 3, 3]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": np.ones((1, 4), np.float32)}, [r"'a' \[1, 3\] float32", r"\[1, 4\]"]),
        ({"a": np.ones((3,), np.float32)}, [r"'a' \[1, 3\]", r"\[3\]"]),
        ({"b": np.ones((1, 3))}, [r"'b' \[1, 3\] float32", "float64"]),
        ({"b": [[1, 1, 1]]}, ["'b'", "list"]),
        ({"c": np.ones(1)}, [r"\['a', 'b', 'n'\]", "'c'"]),
    ],
)
def test_a_wrong_feed_is_named_with_what_was_wanted(
    name: str, model: Path, change: dict[str, np.ndarray], words: list[str]
) -> None:
    with open_model(model, name) as engine, pytest.raises(InputError, match=".*".join(words)):
        engine.infer({**feeds(), **change})


def test_a_missing_feed_is_refused(name: str, model: Path) -> None:
    with open_model(model, name) as engine, pytest.raises(InputError, match=r"got \[\]"):
        engine.infer({})


def test_a_free_side_takes_any_length_none_included(tmp_path: Path) -> None:
    with open_engine(write_sums(tmp_path / "free.onnx", "length"), engine="ort") as engine:
        assert engine.inputs[2] == TensorSpec("n", (None,), "int64")
        assert [len(engine.infer(feeds(numbers=count))["doubled"]) for count in (0, 1, 5)] == [0, 1, 5]


def test_closing_works_after_an_exception_and_twice(name: str, model: Path) -> None:
    engine = open_model(model, name)
    with pytest.raises(ZeroDivisionError), engine:
        raise ZeroDivisionError
    engine.close()
    with pytest.raises(EngineError, match=r"sums\.onnx is closed"):
        engine.infer(feeds())


@pytest.mark.parametrize("content", [b"", b"not a model at all" * 9, b"\x08\x07"])
def test_a_file_that_is_no_model_is_one_line(
    name: str, tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_model(path, name)
    assert "odd.onnx" in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_and_a_folder_are_input_errors(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no"):
        open_model(tmp_path / "absent.onnx", name)
    with pytest.raises(InputError, match="is a folder"):
        open_model(tmp_path, name)


def test_no_threads_are_refused(name: str, model: Path) -> None:
    with pytest.raises(InputError, match="at least one thread"):
        open_model(model, name, 0)


def test_an_unknown_engine_lists_those_there_are() -> None:
    with pytest.raises(InputError, match=r"'abacus'.*ort"):
        open_engine("model.onnx", engine="abacus")


def test_every_engine_of_the_catalogue_is_one() -> None:
    assert all(issubclass(engine, Engine) for engine in ENGINES.values())
