"""The detector a user calls: an image in, the objects found in it out."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter_ns
from typing import Callable, Iterator, Mapping, NamedTuple, Sequence, Union

import numpy as np

from deploy.data.images import ImageFile, read_image
from deploy.detections import Detections
from deploy.engines import Engine, open_engine
from deploy.errors import EngineError, InputError
from deploy.pipeline.batch import find_image_input, find_layout
from deploy.pipeline.decode import get_head
from deploy.pipeline.model import ModelSource
from deploy.pipeline.preprocess import Placement

__all__ = ["Detector", "Timings"]


ImageLike = Union[np.ndarray, str, Path]


class Timings(NamedTuple):
    """Milliseconds of one image: `pre_ms` resizes, pads and normalises; `infer_ms` is engine and decoding.

    Reading and decompressing a file is in neither: a camera does not do it. A model that takes several images at once
    takes as long for one of them as for all.
    """

    pre_ms: float
    infer_ms: float
    gpu_ms: float | None = None

    @property
    def total_ms(self) -> float:
        return self.pre_ms + self.infer_ms


class Detector:
    """A loaded detector: ``with Detector(open_bundle("student")) as detector: detector("street.jpg")``.

    Args:
        source: a `Bundle`, or a `ModelSource`, whose file the engine executes (`deploy.builders.prepare_model`).
        threads: CPU threads of the engine; None is the number of physical cores.
        engine: as of `open_engine`; or one that is open, as of a model on a server, which is closed with the detector.
        spins: as of `open_engine`; what `detect_timed` says is a latency only with it.

    Attributes:
        images: how many the model takes at once; fewer are filled up with the last one, whose copies are thrown away.
        class_count: how many classes the model's outputs tell apart; None where they do not say.

    Raises:
        InputError: the model cannot be loaded, its input is not the canvas that is described, or its outputs are not
            those of its head.
    """

    def __init__(
        self, source: ModelSource, threads: int | None = None, engine: str | Engine = "ort", spins: bool = True
    ) -> None:
        if source.preprocess is None or source.head is None:
            raise InputError(f"{source.model.name}: a model detects with a preprocess and a head; here one is missing")
        head = get_head(source.head)
        self._decode, self._selection = head.decode, source.selection
        self._preprocess = source.preprocess
        self.engine = engine if isinstance(engine, Engine) else open_engine(source.model, threads, engine, spins)
        size = (source.preprocess.width, source.preprocess.height)
        try:
            taken = find_image_input(self.engine.inputs)
            if taken is None or (taken.width, taken.height) != size:
                raise InputError(
                    f"should have one input of shape [1, 3, {size[1]}, {size[0]}] (or a fixed number of images), "
                    "as its preprocessing "
                    f"says; it has {[list(spec.shape) for spec in self.engine.inputs]}"
                )
            self._layout = find_layout(head, self.engine.outputs, taken.images, size)
        except InputError as error:
            self.engine.close()
            raise InputError(f"{self.engine.name}: {error}") from error
        self._input = taken
        self._size = size
        self.images = taken.images
        self.class_count = self._layout.class_count

    def __call__(self, image: ImageLike) -> Detections:
        """Objects in an (H, W, 3) uint8 RGB image or an image file, in its pixels, best first."""
        return self.detect_timed(image)[0]

    def detect_batch(self, images: Sequence[ImageLike]) -> list[Detections]:
        """Objects in each of any number of images, in their order, by as few calls of the engine as its size allows."""
        found: list[Detections] = []
        for start in range(0, len(images), self.images):
            found += self._detect(images[start : start + self.images])[0]
        return found

    def detect_timed(self, image: ImageLike) -> tuple[Detections, Timings]:
        """The same, and how long it took; every latency of a detector in this project is read off these clocks."""
        found, timings = self._detect([image])
        return found[0], timings

    def detect_files(
        self, images: Sequence[ImageFile], report: Callable[[str], None] = lambda line: None
    ) -> Iterator[tuple[int, Detections, Timings]]:
        """The position of each file that can be read, and what is in it, one image at a time; others are reported."""
        for position, file in enumerate(images):
            try:
                image = read_image(*file)
            except InputError as error:
                report(f"{error} (skipped)")
                continue
            yield (position, *self.detect_timed(image))

    def _detect(self, images: Sequence[ImageLike]) -> tuple[list[Detections], Timings]:
        pixels = [image if isinstance(image, np.ndarray) else read_image(Path(image)) for image in images]
        started = perf_counter_ns()
        prepared = [self._preprocess(image) for image in pixels]
        canvases = [canvas for canvas, _ in prepared] + [prepared[-1][0]] * (self.images - len(prepared))
        feed = canvases[0] if len(canvases) == 1 else np.concatenate(canvases)
        ready = perf_counter_ns()
        outputs = self.engine.infer(self._input.feed(feed))
        found = [self._decode_one(answer, place) for answer, (_, place) in zip(self._layout.split(outputs), prepared)]
        done = perf_counter_ns()
        return found, Timings((ready - started) / 1e6, (done - ready) / 1e6, self.engine.last_gpu_ms)

    def _decode_one(self, outputs: Mapping[str, np.ndarray], place: Placement) -> Detections:
        found = self._decode(outputs, self._size, self._selection)
        if not (np.isfinite(found.boxes_xyxy).all() and np.isfinite(found.scores).all()):
            raise EngineError(f"{self.engine.name} gives boxes or scores that are not finite")
        if len(found) and (found.labels.min() < 0 or found.labels.max() >= (self.class_count or np.inf)):
            raise EngineError(f"{self.engine.name} gives labels from {found.labels.min()} to {found.labels.max()}")
        return Detections(self._preprocess.boxes_to_image(found.boxes_xyxy, place), found.scores, found.labels)

    def close(self) -> None:
        """Release the engine; closing twice is allowed."""
        self.engine.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
