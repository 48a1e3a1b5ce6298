"""A double of TensorRT's Python module, computing by ONNX Runtime. It has no name that the release in question lacks.

`TENSORRT_DOUBLE` (JSON) says what it pretends: "version"; "build", by level: "ok", "none", "crash", "hang"; "type",
that every layer of an engine is said to have; "messages", warnings of a build. Its names are in tensorrt_names.json.
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cudart
import numpy as np
import onnx
import onnxruntime

OPTIONS = json.loads(os.environ.get("TENSORRT_DOUBLE", "{}"))
__version__ = OPTIONS.get("version", "10.3.0")
NAMES = json.loads(Path(__file__).with_name("tensorrt_names.json").read_text())
MAGIC = "plan of the double"


def has(name: str) -> bool:
    return __version__ in NAMES[name]


def enum_of(name: str, base: type = enum.IntEnum) -> Any:
    members = [item.split(".")[1] for item in NAMES if item.startswith(name + ".") and has(item)]
    return base(name, {member: place for place, member in enumerate(members)})


DataType = enum_of("DataType", enum.Enum)
LayerType = enum.Enum(
    "LayerType",
    [
        "OTHER",
        *("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "CONSTANT", "SHUFFLE", "CAST"),  # all releases have them
        *(name.split(".")[1] for name in NAMES if name.startswith("LayerType.")),
    ],
)
BuilderFlag = enum_of("BuilderFlag")
MemoryPoolType = enum_of("MemoryPoolType")
ProfilingVerbosity = enum_of("ProfilingVerbosity")
LayerInformationFormat = enum_of("LayerInformationFormat")
TensorIOMode = enum_of("TensorIOMode")
NetworkDefinitionCreationFlag = enum_of("NetworkDefinitionCreationFlag")

NUMBERS = {"FLOAT": 1, "UINT8": 2, "INT8": 3, "INT32": 6, "INT64": 7, "BOOL": 9, "HALF": 10}
LAYERS = {"QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE", "TopK": "TOPK", "NonMaxSuppression": "NMS"}
SPELLED = {"FLOAT": "Float", "HALF": "Half", "INT8": "Int8", "INT32": "Int32", "INT64": "Int64", "BOOL": "Bool"}


def type_of(number: int) -> Any:
    name = next((name for name, value in NUMBERS.items() if value == number), "FLOAT")
    return getattr(DataType, name if has("DataType." + name) else "INT32")  # before 9.0, integers are cast down


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)


class Network:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.model: Any = None

    num_inputs = property(lambda self: len(self.model.graph.input))
    num_layers = property(lambda self: len(self.model.graph.node))

    def get_input(self, index: int) -> Any:
        sides = self.model.graph.input[index].type.tensor_type.shape.dim
        return SimpleNamespace(shape=[side.dim_value if side.HasField("dim_value") else -1 for side in sides])

    def get_layer(self, index: int) -> Any:
        node = self.model.graph.node[index]
        types = [type_of(self.types.get(name, 1)) for name in node.output]
        kind = LayerType[LAYERS.get(node.op_type, "OTHER")]
        read = [self.types.get(name, 1) for name in node.input]
        return SimpleNamespace(
            type=kind,
            num_outputs=len(types),
            get_output=lambda place: SimpleNamespace(name=node.output[place], dtype=types[place]),
            num_inputs=len(read),
            get_input=lambda place: SimpleNamespace(name=node.input[place], dtype=type_of(read[place])),
        )

    @property
    def types(self) -> dict[str, int]:
        graph = onnx.shape_inference.infer_shapes(self.model).graph
        return {info.name: info.type.tensor_type.elem_type for info in [*graph.value_info, *graph.output]}


class OnnxParser:
    def __init__(self, network: Network, logger: Any) -> None:
        self.network = network
        self.errors: list[Any] = []

    num_errors = property(lambda self: len(self.errors))

    def parse_from_file(self, path: str) -> bool:
        try:
            self.network.model = onnx.load(path)
            onnx.checker.check_model(self.network.model)
        except Exception as error:
            text = str(error)
            self.errors.append(SimpleNamespace(desc=lambda: text))
        return not self.errors

    def get_error(self, index: int) -> Any:
        return self.errors[index]


class TimingCache(bytes):
    def serialize(self) -> bytes:
        return b"timings of " + __version__.encode()


class Config:
    def __init__(self) -> None:
        self.flags: set[str] = set()
        self.limits: dict[Any, int] = {}
        self.cache = TimingCache()
        self.builder_optimization_level = 3

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.limits[pool] = size

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag.name)

    def create_timing_cache(self, content: bytes) -> TimingCache:
        return TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.cache = cache
        return cache in (b"", cache.serialize())

    def get_timing_cache(self) -> TimingCache:
        return self.cache


class Builder:
    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def create_network(self, flags: int) -> Network:
        assert flags < 1 << len(NetworkDefinitionCreationFlag)
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        for message in OPTIONS.get("messages", []):
            self.logger.log(ILogger.WARNING, message)
        behaviour = OPTIONS.get("build", {}).get(str(config.builder_optimization_level), "ok")
        if behaviour == "hang":
            time.sleep(120)
        elif behaviour == "crash":
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        elif behaviour == "none":
            self.logger.log(ILogger.ERROR, "could not find any implementation for node a")
            return None
        assert set(config.limits) == {MemoryPoolType.WORKSPACE} and config.limits[MemoryPoolType.WORKSPACE] <= 1 << 30
        strong = [flag for flag in NetworkDefinitionCreationFlag if flag.name == "STRONGLY_TYPED"]
        typed = bool(strong) and network.flags == 1 << strong[0]
        layers = []
        for place, node in enumerate(network.model.graph.node):
            name = network.get_layer(place).get_output(0).dtype.name
            if not typed and {"HALF": "FP16", "INT8": "INT8"}.get(name, "") not in {"", *config.flags}:
                name = "FLOAT"  # a weakly typed builder takes what its flags allow
            spelled = OPTIONS.get("type", SPELLED[name])
            key = "DataType" if __version__.startswith("11") else "Format/Datatype"
            layers.append({"Name": node.name, "Outputs": [{"Name": node.output[0], key: spelled}]})
        header = {"magic": MAGIC, "version": __version__, "layers": layers, "flags": sorted(config.flags)}
        header.update(typed=typed, device=os.environ.get("CUDA_DOUBLE_DEVICE", "Orin"))
        return json.dumps(header).encode() + b"\n" + network.model.SerializeToString()


class Engine:
    def __init__(self, header: dict[str, Any], model: bytes) -> None:
        self.header = header
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        graph = onnx.load_from_string(model).graph
        self.tensors = {info.name: info.type.tensor_type for info in [*graph.input, *graph.output]}
        self.inputs = [info.name for info in graph.input]

    num_io_tensors = property(lambda self: len(self.tensors))

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(side.dim_value if side.HasField("dim_value") else -1 for side in self.tensors[name].shape.dim)

    def get_tensor_dtype(self, name: str) -> Any:
        return type_of(self.tensors[name].elem_type)

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def create_execution_context(self) -> Any:
        return Context(self)

    def create_engine_inspector(self) -> Any:
        information = json.dumps({"Layers": self.header["layers"]})
        return SimpleNamespace(get_engine_information=lambda form: information)

    device_memory_size = 4096
    device_memory_size_v2 = 4096


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}

    def set_tensor_address(self, name: str, pointer: int) -> bool:
        self.addresses[name] = pointer
        return cudart.knows(pointer)

    def execute_async_v3(self, stream: int) -> bool:
        assert set(self.addresses) == set(self.engine.tensors)
        return cudart.enqueue(stream, self._compute)

    def _compute(self) -> None:
        feeds = {}
        for name in self.engine.inputs:
            wanted = onnx.helper.tensor_dtype_to_np_dtype(self.engine.tensors[name].elem_type)
            feeds[name] = self._view(name).astype(wanted)
        names = [name for name in self.engine.tensors if name not in self.engine.inputs]
        for name, value in zip(names, self.engine.session.run(names, feeds)):
            self._view(name)[...] = value

    def _view(self, name: str) -> np.ndarray:
        shape = self.engine.get_tensor_shape(name)
        number = NUMBERS[self.engine.get_tensor_dtype(name).name]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(number)
        size = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        memory = (ctypes.c_ubyte * size).from_address(self.addresses[name])
        return np.frombuffer(memory, dtype, int(np.prod(shape))).reshape(shape)


class Runtime:
    SEEN: list[bytes] = []  # every plan that this process was asked to load

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        self.SEEN.append(content)
        head, _, model = content.partition(b"\n")
        header = json.loads(head)
        if header["version"] != __version__ or header["magic"] != MAGIC:
            self.logger.log(ILogger.ERROR, "version tag does not match")
            return None
        return Engine(header, model)


def init_libnvinfer_plugins(logger: Any, namespace: str) -> bool:
    return True


DOUBLED = {
    "Builder": Builder, "IBuilderConfig": Config, "INetworkDefinition": Network, "OnnxParser": OnnxParser,
    "Runtime": Runtime, "ICudaEngine": Engine, "IExecutionContext": Context, "ITimingCache": TimingCache,
}  # fmt: skip
for _name in NAMES:
    _class, _, _member = _name.partition(".")
    if _class in DOUBLED and _member and not has(_name):
        delattr(DOUBLED[_class], _member)
