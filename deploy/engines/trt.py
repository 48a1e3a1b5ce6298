"""TensorRT on an NVIDIA GPU: a plan that was built of an ONNX file for this device."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Mapping, NamedTuple

import numpy as np

from deploy.engines.base import Engine, Int8Style, TensorSpec, check_model_file, check_threads
from deploy.engines.cuda import open_cuda
from deploy.engines.cuda_base import Cuda, CudaDevice
from deploy.engines.plan import Plan, Platform, find_difference, read_plan
from deploy.engines.tensorrt_library import TENSORRT, Library, MessageLog, import_library, make_logger, numpy_name
from deploy.errors import EngineError, InputError

__all__ = ["TrtEngine"]


class Buffer(NamedTuple):
    """A tensor's memory: pinned on the host, and on the device."""

    spec: TensorSpec
    host: np.ndarray
    pointer: int


class TrtEngine(Engine):
    """A plan in one TensorRT context, on one stream, with memory taken once and a CUDA graph where it captures.

    Used in the thread that opened it. What is timed as `last_gpu_ms` is the network, without the copies.

    Args:
        path: of the plan.
        threads: of the CPU, checked as for any engine; TensorRT computes on the GPU, and one thread launches.

    Attributes:
        library: that executes it.
        plan: what is executed, and the record of its build.
        notes: "CUDA graph" or why there is none, then what is doubtful about the plan.

    Raises:
        InputError: the file is missing, or is not a plan.
        EngineError: TensorRT or CUDA is not installed, there is no GPU, or the plan is of another one or was altered.
    """

    library: ClassVar[Library] = TENSORRT
    parser = TENSORRT.name
    packages = TENSORRT.modules
    install = "on a Jetson: sudo apt install python3-libnvinfer; a virtual environment needs --system-site-packages"
    int8 = Int8Style(unsigned=False, biases=False, rest="fp16")  # it reads zero points of 0 alone, and no int32
    uses_gpu = True

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        super().__init__(check_model_file(path, "plan"))
        check_threads(threads)
        self.threads = 1
        self.plan: Plan = read_plan(self.path)
        self.name = str(self.plan.record.get("model", self.name))
        tensorrt = import_library(self.library)
        with ExitStack() as stack:
            self._cuda: Cuda = open_cuda()
            stack.callback(self._cuda.close)
            device = self._cuda.read_device()
            platform = self.platform_of(tensorrt, device)
            difference = find_difference(self.plan.key.platform, platform)
            if difference is not None:
                raise EngineError(f"{self.path} is not for this machine: {difference}; build it here")
            self._log = MessageLog()
            self._logger: Any = make_logger(tensorrt, self._log)
            self._load_plugins(tensorrt)
            self._runtime: Any = tensorrt.Runtime(self._logger)
            stack.callback(self._forget)
            self._engine: Any = self._runtime.deserialize_cuda_engine(self.plan.content)
            if self._engine is None:
                raise EngineError(f"TensorRT does not load the plan {self.plan.path}: {_last(self._log)}")
            self._context: Any = self._make_context()
            if self._context is None:
                raise EngineError(f"{self.name}: no room to execute it: {_last(self._log)}")
            self._stream: Any = self._cuda.create_stream()
            stack.callback(self._cuda.destroy_stream, self._stream)
            self._start, self._stop = (self._make_event(stack) for _ in range(2))
            self._inputs, self._outputs = self._make_buffers(tensorrt, stack)
            self.inputs = tuple(buffer.spec for buffer in self._inputs)
            self.outputs = tuple(buffer.spec for buffer in self._outputs)
            self._graph, graph_note = self._capture(stack)
            self.notes = (graph_note, *self.plan.record["labels"])
            version, level = f"{self.library.name} {platform.tensorrt}", self.plan.record["level"]
            self.runtime = f"{version}, level {level}, {device.name}, {self._cuda.library}"
            self._stack = stack.pop_all()

    @classmethod
    def read_platform(cls, gpu: str | None = None) -> Platform:
        if gpu is not None:
            raise InputError(f"{cls.library.title} builds for the GPU that it is on, not for {gpu}: build there")
        tensorrt, cuda = import_library(cls.library), open_cuda()
        try:
            return cls.platform_of(tensorrt, cuda.read_device())
        finally:
            cuda.close()

    @classmethod
    def platform_of(cls, tensorrt: Any, device: CudaDevice) -> Platform:
        """What plans are bound to on a device."""
        version = str(tensorrt.__version__)
        return Platform(version, device.name, device.compute_capability, device.cuda, cls.library.name)

    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for buffer in self._inputs:
            np.copyto(buffer.host, feeds[buffer.spec.name])
            self._cuda.copy_to_device(buffer.pointer, buffer.host, self._stream)
        self._cuda.record(self._start, self._stream)
        if self._cuda.graphs is not None and self._graph is not None:
            self._cuda.graphs.launch(self._graph, self._cuda.handle_of(self._stream))
        else:
            self._enqueue()
        self._cuda.record(self._stop, self._stream)
        for buffer in self._outputs:
            self._cuda.copy_to_host(buffer.host, buffer.pointer, self._stream)
        self._cuda.synchronize(self._stream)
        self.last_gpu_ms = self._cuda.elapsed_ms(self._start, self._stop)
        return {buffer.spec.name: buffer.host.copy() for buffer in self._outputs}

    def _release(self) -> None:
        self._stack.close()

    def _load_plugins(self, tensorrt: Any) -> None:
        tensorrt.init_libnvinfer_plugins(self._logger, "")

    def _make_context(self) -> Any:
        return self._engine.create_execution_context()

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._cuda.handle_of(self._stream)):
            raise EngineError(f"{self.name} failed in TensorRT: {_last(self._log)}")

    def _make_event(self, stack: ExitStack) -> Any:
        event = self._cuda.create_event()
        stack.callback(self._cuda.destroy_event, event)
        return event

    def _make_buffers(self, tensorrt: Any, stack: ExitStack) -> tuple[list[Buffer], list[Buffer]]:
        """Memory for every tensor, known to the context: inputs, outputs."""
        found: tuple[list[Buffer], list[Buffer]] = ([], [])
        for place in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(place)
            shape = tuple(int(side) for side in self._engine.get_tensor_shape(name))
            spec = TensorSpec(name, shape, numpy_name(tensorrt, self._engine.get_tensor_dtype(name)))
            if any(side < 0 for side in shape):
                raise EngineError(f"{self.name}: {spec} is of a size that depends on the data")
            host = self._cuda.allocate_pinned(shape, spec.dtype)
            stack.callback(self._cuda.free_pinned, host)
            host.fill(0)
            pointer = self._cuda.allocate(host.nbytes)
            stack.callback(self._cuda.free, pointer)
            if not self._context.set_tensor_address(name, pointer):
                raise EngineError(f"{self.name}: TensorRT refused the memory of {spec}")
            is_output = self._engine.get_tensor_mode(name) == tensorrt.TensorIOMode.OUTPUT
            found[is_output].append(Buffer(spec, host, pointer))
        return found

    def _capture(self, stack: ExitStack) -> tuple[Any, str]:
        """A CUDA graph of the network and how it went, after one run as TensorRT wants it."""
        for buffer in self._inputs:
            self._cuda.copy_to_device(buffer.pointer, buffer.host, self._stream)
        self._enqueue()
        self._cuda.synchronize(self._stream)
        if self._cuda.graphs is None:
            return None, f"no CUDA graph ({self._cuda.library} has none, and libcudart is not found)"
        try:
            graph = self._cuda.graphs.capture(self._cuda.handle_of(self._stream), self._enqueue)
        except EngineError as error:
            return None, f"no CUDA graph ({error})"
        stack.callback(self._cuda.graphs.destroy, graph)
        return graph, "CUDA graph"

    def _forget(self) -> None:
        """Let go of TensorRT's objects, each before the one that it is of."""
        self._context = None
        self._engine = None
        self._runtime = None


def _last(log: MessageLog) -> str:
    return log.errors[-1] if log.errors else "it gave no reason"
