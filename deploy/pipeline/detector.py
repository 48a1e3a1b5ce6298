"""The detector a user calls: an image in, the objects found in it out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple, Optional, Protocol, Tuple, Union

import numpy as np

from deploy.bundle import Bundle, open_bundle
from deploy.data.images import read_image
from deploy.detections import Detections
from deploy.engines import open_engine
from deploy.errors import InputError
from deploy.pipeline.decode import get_head
from deploy.pipeline.preprocess import Preprocess

__all__ = ["DetectionModel", "Detector", "ModelSource", "Timings", "open_detector"]


class DetectionModel(Protocol):
    """What a detector is made of; a `Bundle` is one."""

    @property
    def model(self) -> Path: ...

    @property
    def preprocess(self) -> Preprocess: ...

    @property
    def head(self) -> str: ...


@dataclass(frozen=True)
class ModelSource:
    """A model file that is not in a bundle yet, with what a bundle would say about it."""

    model: Path
    preprocess: Preprocess
    head: str = "detections"


class Timings(NamedTuple):
    """Milliseconds of one image: `pre_ms` resizes, pads and normalises; `infer_ms` is engine and decoding.

    Of `infer_ms`, `gpu_ms` is what the GPU worked, without copies; None where there is none. Reading and decompressing
    a file is in neither: a camera does not do it.
    """

    pre_ms: float
    infer_ms: float
    gpu_ms: Optional[float] = None

    @property
    def total_ms(self) -> float:
        return self.pre_ms + self.infer_ms


class Detector:
    """A loaded detector: ``with Detector(open_bundle("student")) as detector: detector("street.jpg")``.

    Args:
        source: a `Bundle`, or a `ModelSource`.
        threads: CPU threads of the engine; None is the number of physical cores.

    Raises:
        InputError: the model cannot be loaded, its input is not the canvas that is described, or its outputs are not
            those of its head.
    """

    def __init__(self, source: DetectionModel, threads: Optional[int] = None, engine: str = "ort") -> None:
        head = get_head(source.head)
        self._decode = head.decode
        self._preprocess = source.preprocess
        self.engine = open_engine(source.model, threads, engine)
        canvas = (1, 3, source.preprocess.height, source.preprocess.width)
        shapes = [spec.shape for spec in self.engine.inputs]
        if shapes != [canvas]:
            self.engine.close()
            raise InputError(
                "{} should have one input of shape {}, as its preprocessing says; it has {}".format(
                    source.model.name, list(canvas), [list(shape) for shape in shapes]
                )
            )
        self._input = self.engine.inputs[0].name
        self._size = (source.preprocess.width, source.preprocess.height)
        try:
            head.count_classes(self.engine.outputs, self._size)
        except InputError as error:
            self.engine.close()
            raise InputError("{}: {}".format(source.model.name, error)) from error

    def __call__(self, image: Union[np.ndarray, str, Path]) -> Detections:
        """Objects in an (H, W, 3) uint8 RGB image or an image file, in its pixels, best first."""
        return self.detect_timed(image)[0]

    def detect_timed(self, image: Union[np.ndarray, str, Path]) -> Tuple[Detections, Timings]:
        """The same, and how long it took; every latency of a detector in this project is read off these clocks."""
        pixels = image if isinstance(image, np.ndarray) else read_image(Path(image))
        started = perf_counter_ns()
        canvas, place = self._preprocess(pixels)
        prepared = perf_counter_ns()
        found = self._decode(self.engine.infer({self._input: canvas}), self._size)
        boxes_xyxy = self._preprocess.boxes_to_image(found.boxes_xyxy, place)
        done = perf_counter_ns()
        timings = Timings((prepared - started) / 1e6, (done - prepared) / 1e6, self.engine.last_gpu_ms)
        return Detections(boxes_xyxy, found.scores, found.labels), timings

    def close(self) -> None:
        """Release the engine; closing twice is allowed."""
        self.engine.close()

    def __enter__(self) -> "Detector":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_detector(bundle: Union[Bundle, Path, str], threads: Optional[int] = None) -> Detector:
    """The detector of a bundle, whose hashes are checked; use it in a `with` statement, or close it."""
    return Detector(bundle if isinstance(bundle, Bundle) else open_bundle(bundle), threads)
