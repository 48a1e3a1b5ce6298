"""CUDA's libraries as far as they go without a GPU, and the doubles further."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deploy.engines.cuda import open_cuda
from deploy.engines.cuda_library import CudaLibrary
from deploy.engines.cuda_runtime import RuntimeCuda
from deploy.errors import EngineError

Pretend = Callable[..., Any]


@pytest.fixture
def library() -> CudaLibrary:
    """The real libcudart, where it is; most of its calls need no GPU to be refused."""
    try:
        return CudaLibrary()
    except OSError as error:
        pytest.skip(f"libcudart: {error}")


def test_the_real_library_answers_in_words(library: CudaLibrary) -> None:
    assert library.call("cudaRuntimeGetVersion") >= 11040
    try:
        RuntimeCuda().read_device()
    except EngineError as error:
        assert str(error).startswith("cudaSetDeviceFlags failed: cudaError")
    else:
        pytest.skip("there is a GPU: tests marked gpu look further")
    calls: dict[str, tuple[Any, ...]] = {
        "cudaMalloc": (16,),
        "cudaHostAlloc": (16, 0),
        "cudaMemGetInfo": (),
        "cudaDeviceGetAttribute": (75, 0),
        "cudaMemcpyAsync": (0, 0, 1, 1, 0),
        "cudaStreamCreateWithFlags": (1,),
        "cudaStreamBeginCapture": (0, 1),
        "cudaEventCreateWithFlags": (0,),
    }
    for function, arguments in calls.items():
        with pytest.raises(EngineError, match=rf"^{function} failed: cudaError\w+ \(\d+\)"):
            library.call(function, *arguments)


def test_libcudart_has_every_function_of_the_table(library: CudaLibrary) -> None:
    for function, signature in CudaLibrary.SIGNATURES.items():
        assert len(getattr(library._library, function).argtypes) == len(signature), function


def test_without_any_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setattr("deploy.engines.cuda_library.list_candidates", lambda: iter(["/nowhere/libcudart.so"]))
    with pytest.raises(EngineError, match=r"pycuda.*libcudart.*/nowhere.*nvidia-jetpack.*pip install"):
        open_cuda()


def test_arrays_go_to_the_device_and_back(pretend_tensorrt: Pretend) -> None:
    pretend_tensorrt(cuda={"device": "Orin", "capability": 87, "version": 12060})
    cuda = open_cuda()
    device = cuda.read_device()
    assert (device.name, device.compute_capability, device.integrated, device.cuda) == ("Orin", "8.7", True, "12.6")
    assert cuda.library == "libcudart 12.6"
    stream = cuda.create_stream()
    there, back = cuda.allocate_pinned((2, 3), "float32"), cuda.allocate_pinned((2, 3), "float32")
    there[:] = np.arange(6).reshape(2, 3)
    back[:] = 0
    pointer = cuda.allocate(there.nbytes)
    cuda.copy_to_device(pointer, there, stream)
    cuda.copy_to_host(back, pointer, stream)
    cuda.synchronize(stream)
    assert back.tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(EngineError, match=r"cudaMemcpyAsync failed: cudaErrorInvalidValue \(1\)"):
        cuda.copy_to_device(pointer, np.zeros((2, 3), np.float32), stream)  # memory that is not pinned


def test_a_second_engine_opens_where_cuda_refuses_to_set_the_flags_again(pretend_tensorrt: Pretend) -> None:
    pretend_tensorrt(cuda={"version": 11040})
    assert [open_cuda().library for _ in range(2)] == ["libcudart 11.4"] * 2


def test_captured_work_runs_when_it_is_launched(pretend_tensorrt: Pretend) -> None:
    pretend_tensorrt()
    cuda = open_cuda()
    stream = cuda.create_stream()
    source, result = cuda.allocate_pinned((1,), "int32"), cuda.allocate_pinned((1,), "int32")
    source[:], result[:] = 7, 0
    assert cuda.graphs is not None
    graph = cuda.graphs.capture(stream, lambda: cuda.copy_to_host(result, source.ctypes.data, stream))
    assert result[0] == 0
    cuda.graphs.launch(graph, stream)
    assert result[0] == 7


def test_a_failed_capture_leaves_a_usable_stream(pretend_tensorrt: Pretend) -> None:
    pretend_tensorrt(cuda={"capture": False})
    cuda = open_cuda()
    stream = cuda.create_stream()
    assert cuda.graphs is not None
    with pytest.raises(EngineError, match="cudaStreamEndCapture failed: cudaErrorStreamCaptureInvalidated"):
        cuda.graphs.capture(stream, lambda: None)

    def fail() -> None:
        raise EngineError("a layer cannot be captured")

    with pytest.raises(EngineError, match="a layer cannot be captured"):
        cuda.graphs.capture(stream, fail)
    cuda.synchronize(stream)


class PycudaError(Exception):
    """`pycuda.driver.Error`."""


def make_pycuda(log: list[str]) -> tuple[ModuleType, ModuleType]:
    """A double of pycuda as far as its documentation says what the engine uses, on host memory."""
    package, driver = ModuleType("pycuda"), ModuleType("pycuda.driver")

    class Allocation:
        def __init__(self, size: int) -> None:
            self.memory = np.zeros(size, np.uint8)

        def __int__(self) -> int:
            return int(self.memory.ctypes.data)

        def free(self) -> None:
            log.append("free")

    def pagelocked_empty(shape: int, dtype: Any) -> np.ndarray:
        class Pinned(np.ndarray):
            base = SimpleNamespace(free=lambda: log.append("free pinned"))

        return np.empty(shape, dtype).view(Pinned)

    def copy(target: int, source: int, size: int, stream: Any) -> None:
        assert stream.handle == 77
        ctypes.memmove(target, source, size)

    def fail(size: int) -> None:
        raise PycudaError("cuMemAlloc failed: out of memory")

    context = SimpleNamespace(
        push=lambda: log.append("push"), pop=lambda: log.append("pop"), detach=lambda: log.append("detach")
    )
    device = SimpleNamespace(
        name=lambda: "Orin",
        compute_capability=lambda: (8, 7),
        get_attribute=lambda attribute: attribute,
        retain_primary_context=lambda: context,
    )
    driver.__dict__.update(
        Error=PycudaError,
        init=lambda: None,
        Device=lambda number: device,
        device_attribute=SimpleNamespace(INTEGRATED=1),
        get_version=lambda: (12, 6, 0),
        mem_get_info=lambda: (1, 2),
        mem_alloc=lambda size: fail(size) if size > 1 << 40 else Allocation(size),
        pagelocked_empty=pagelocked_empty,
        memcpy_htod_async=lambda target, array, stream: copy(target, array.ctypes.data, array.nbytes, stream),
        memcpy_dtoh_async=lambda array, source, stream: copy(array.ctypes.data, source, array.nbytes, stream),
        Stream=lambda: SimpleNamespace(handle=77, synchronize=lambda: log.append("synchronize")),
    )
    package.__dict__.update(driver=driver, VERSION_TEXT="2025.1", __path__=[])
    return package, driver


def test_pycuda_is_taken_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    package, driver = make_pycuda(log)
    for name, module in (("pycuda", package), ("pycuda.driver", driver)):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("deploy.engines.cuda_library.list_candidates", lambda: iter(()))
    cuda = open_cuda()
    device = cuda.read_device()
    assert (device.name, device.compute_capability, device.integrated, device.cuda) == ("Orin", "8.7", True, "12.6")
    assert (cuda.library, cuda.graphs) == ("pycuda 2025.1", None)
    stream = cuda.create_stream()
    there, back = cuda.allocate_pinned((2, 2), "int32"), cuda.allocate_pinned((2, 2), "int32")
    there[:] = [[1, 2], [3, 4]]
    pointer = cuda.allocate(there.nbytes)
    cuda.copy_to_device(pointer, there, stream)
    cuda.copy_to_host(back, pointer, stream)
    cuda.synchronize(stream)
    assert back.tolist() == [[1, 2], [3, 4]] and cuda.handle_of(stream) == 77
    with pytest.raises(EngineError, match="mem_alloc of pycuda failed: cuMemAlloc failed: out of memory"):
        cuda.allocate(1 << 41)
    cuda.free(pointer)
    cuda.free_pinned(there)
    cuda.close()
    assert log == ["push", "synchronize", "free", "free pinned", "pop", "detach"]


@pytest.mark.gpu
def test_a_gpu_is_described_and_gives_back_what_it_was_given(tmp_path: Path) -> None:
    cuda = open_cuda()
    assert cuda.read_device().name and cuda.read_memory()[0] > 0
    stream = cuda.create_stream()
    start, stop = cuda.create_event(), cuda.create_event()
    array, back = cuda.allocate_pinned((1024,), "float32"), cuda.allocate_pinned((1024,), "float32")
    array[:] = np.arange(1024)
    pointer = cuda.allocate(array.nbytes)
    cuda.record(start, stream)
    cuda.copy_to_device(pointer, array, stream)
    if cuda.graphs is not None:
        handle = cuda.handle_of(stream)
        graph = cuda.graphs.capture(handle, lambda: cuda.copy_to_host(back, pointer, stream))
        cuda.graphs.launch(graph, handle)
    else:
        cuda.copy_to_host(back, pointer, stream)
    cuda.record(stop, stream)
    cuda.synchronize(stream)
    assert np.array_equal(array, back) and cuda.elapsed_ms(start, stop) > 0
