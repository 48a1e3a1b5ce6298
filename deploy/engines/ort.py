"""ONNX Runtime; its CPU provider."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from deploy.engines.base import Engine, Int8Style, TensorSpec, check_model_file, check_threads
from deploy.errors import EngineError, InputError
from deploy.sensors.machine import count_physical_cores

__all__ = ["NO_SPINNING", "OrtEngine"]

ERRORS_ONLY = 3
NO_SPINNING = (("session.intra_op.allow_spinning", "0"),)
SOURCE_PLACE = re.compile(r"\S+\.(?:cc|h|cpp|cu):\d+ ")
SIGNATURE_END = re.compile(r"^(?: const)?(?: \[with [^]]*\])?")
ADVICE = {  # by words of the runtime's reason
    "Unsupported model IR version": " (a newer onnxruntime reads it, or export it for an older one)",
    "opset": " (a newer onnxruntime may read it, or export it with opset 17)",
    "Protobuf parsing failed": " (it is cut short, or is not ONNX)",
    "xternal data": " (its weights are in a file that is not beside it)",
}
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(uint32)": "uint32",
    "tensor(int64)": "int64",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}


class OrtEngine(Engine):
    """An ONNX file in an ONNX Runtime session: all graph optimisations, one operator at a time.

    Args:
        threads: threads inside an operator; None is the number of physical cores.
        spins: whether threads with nothing to do keep their cores busy for some 30 ms, so as to go on at once. That is
            what a deployed program has and what is timed; elsewhere it takes the cores from whoever else needs them.

    Raises:
        InputError: the file is missing or is not an ONNX model.
        EngineError: ONNX Runtime is not installed, or took another provider.

    Attributes:
        provider: of ONNX Runtime's, that the session is opened with. messages: least severity of what it prints.
    """

    is_reference = True
    provider = "CPUExecutionProvider"
    messages = ERRORS_ONLY
    packages = ("onnxruntime",)
    install = "python3 -m pip install onnxruntime"
    # Unsigned, on x86, 33 of an r18's 43 convolutions are integers: else 10.
    int8 = Int8Style(unsigned=True, biases=True, rest="fp32", lacking=("ConvTranspose",))

    def __init__(self, path: str | Path, threads: int | None = None, spins: bool = True) -> None:
        super().__init__(check_model_file(path, "ONNX model"))
        check_threads(threads)
        runtime = _import_runtime(self.messages, self.install)
        self.threads = threads if threads is not None else count_physical_cores()
        self._spins = spins
        self._session: Any = self._open(runtime)
        active = self._session.get_providers()
        if active[:1] != [self.provider]:
            raise EngineError(f"{self.provider} was asked of ONNX Runtime, which took {active}")
        self.runtime = f"onnxruntime {runtime.__version__} {self.provider}"
        self.inputs = tuple(_describe(node, self.path) for node in self._session.get_inputs())
        self.outputs = tuple(_describe(node, self.path) for node in self._session.get_outputs())
        self._names = [spec.name for spec in self.outputs]

    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            results = self._session.run(self._names, dict(feeds))
        except Exception as error:  # the runtime's errors share no base class below Exception
            raise EngineError(f"{self.name} failed in ONNX Runtime: {_shorten(error)}") from error
        return dict(zip(self._names, results))

    def _release(self) -> None:
        self._session = None

    def _open(self, runtime: Any) -> Any:
        """The session that `_run` uses."""
        return self._open_session(runtime, {})

    def _open_session(self, runtime: Any, entries: Mapping[str, str]) -> Any:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = self.messages
        for name, value in (*entries.items(), *(() if self._spins else NO_SPINNING)):
            options.add_session_config_entry(name, value)
        try:
            return runtime.InferenceSession(str(self.path), options, providers=[self.provider], enable_fallback=0)
        except Exception as error:  # as in `_run`
            reason = _shorten(error) + next((advice for words, advice in ADVICE.items() if words in str(error)), "")
            raise InputError(f"{self.path} is not a model that ONNX Runtime can load: {reason}") from error


def _import_runtime(messages: int, install: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(f"ONNX Runtime is not installed ({error}): {install}") from error
    onnxruntime.set_default_logger_severity(messages)
    return onnxruntime


def _describe(node: Any, path: Path) -> TensorSpec:
    if node.type not in DTYPES:
        raise InputError(f"{path}: {node.name} is of type {node.type}, and only plain tensors can be fed")
    shape: tuple[int | None, ...] = tuple(side if isinstance(side, int) else None for side in node.shape or ())
    return TensorSpec(node.name, shape, DTYPES[node.type])


def _shorten(error: Exception) -> str:
    """The reason that a runtime's error ends with, on one line and whole, without the place in the runtime's source."""
    text = " ".join(str(error).split()) or type(error).__name__
    place = SOURCE_PLACE.search(text)
    if place:
        return _after_signature(text[place.end() :])
    return text.split(" failed:", 1)[-1] if " failed:" in text else text.split(" : ", 3)[-1]


def _after_signature(text: str) -> str:
    """What follows the function's signature, whose parentheses may nest."""
    depth = 0
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == ")" and depth == 0:
            rest = SIGNATURE_END.sub("", text[position + 1 :]).strip()
            return rest or text
    return text
