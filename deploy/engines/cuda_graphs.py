"""CUDA graphs: work captured from a stream once, and launched as a whole from then on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Callable

from deploy.engines.cuda_library import CudaLibrary
from deploy.errors import EngineError

__all__ = ["CudaGraphs"]

THREAD_LOCAL = 1  # cudaStreamCaptureMode


class CudaGraphs:
    """Graphs by libcudart, on the streams of any library: a stream is the handle that other libraries take."""

    def __init__(self, library: CudaLibrary) -> None:
        self._call = library.call

    def capture(self, stream: int, work: Callable[[], None]) -> Any:
        """The graph of what ``work`` puts into the stream; nothing of it runs. The stream is usable after a failure."""
        self._call("cudaStreamBeginCapture", stream, THREAD_LOCAL)
        try:
            work()
        except EngineError:
            self._give_up(stream)
            raise
        try:
            graph = self._call("cudaStreamEndCapture", stream)
            try:
                return self._call("cudaGraphInstantiateWithFlags", graph, 0)
            finally:
                self._call("cudaGraphDestroy", graph)
        except EngineError:
            self._forget_error()
            raise

    def launch(self, graph: Any, stream: int) -> None:
        self._call("cudaGraphLaunch", graph, stream)

    def destroy(self, graph: Any) -> None:
        self._call("cudaGraphExecDestroy", graph)

    def _give_up(self, stream: int) -> None:
        try:
            self._call("cudaGraphDestroy", self._call("cudaStreamEndCapture", stream))
        except EngineError:  # the capture was invalid already, and has ended with this call
            self._forget_error()

    def _forget_error(self) -> None:
        """Take back the code that CUDA keeps for whoever asks for the last error, as TensorRT does."""
        with suppress(EngineError):
            self._call("cudaGetLastError")
