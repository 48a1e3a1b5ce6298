"""Event files for TensorBoard, in the run's folder: a folder for each run, and a file in it for each process."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from optimizer.track.base import Outcome, Parameter

__all__ = ["TensorBoard"]

FOLDER = "tensorboard"
PATTERN = "events.out.tfevents.*"
TEXT = "/text_summary"  # what the library adds to the name of a text


class TensorBoard:
    """Scalars, texts, and parameters and results of trials as TensorBoard's HParams tab shows them. It keeps no files.

    Events are written in the thread that tells them: the library's own writer has another one, whose errors come late
    and as a traceback on the terminal.
    """

    package: ClassVar[str] = "tensorboard"

    def __init__(self, folder: Path) -> None:
        self.hint = f"tensorboard --logdir {folder}"
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._counter = count()

    @classmethod
    def load(cls) -> None:
        import torch.utils.tensorboard  # noqa: F401

    @classmethod
    def open(cls, folder: Path, identity: str, begun: bool) -> TensorBoard:
        return cls(folder / FOLDER)

    def find_steps(self, run: str) -> Mapping[str, int]:
        from tensorboard.backend.event_processing.event_accumulator import SCALARS, TENSORS, EventAccumulator

        if not any((self._folder / run).glob(PATTERN)):
            return {}
        found = EventAccumulator(
            str(self._folder / run), size_guidance={SCALARS: 1, TENSORS: 1}
        )  # the last one of each
        found.Reload()
        tags = found.Tags()
        texts = {tag.removesuffix(TEXT): found.Tensors(tag)[-1].step for tag in tags[TENSORS] if tag.endswith(TEXT)}
        return texts | {tag: found.Scalars(tag)[-1].step for tag in tags[SCALARS]}

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        self._write(run, step, _make_scalars(values))

    def describe(self, run: str, parameters: Mapping[str, Parameter], results: Mapping[str, float]) -> None:
        from torch.utils.tensorboard.summary import hparams

        if not results:
            rows = "\n".join(f"| {name} | {value} |" for name, value in parameters.items())
            self.write(run, 0, "parameters", f"| parameter | value |\n|---|---|\n{rows}")
            return
        self._write(run, 0, [*hparams(dict(parameters), dict(results)), *_make_scalars(results)])

    def write(self, run: str, step: int, name: str, text: str) -> None:
        from torch.utils.tensorboard.summary import text as make_text

        self._write(run, step, [make_text(name, text)])

    def keep(self, files: Mapping[str, Path]) -> None:
        pass

    def end(self, run: str, outcome: Outcome) -> None:
        writer = self._files.pop(run, None)
        if writer is not None:
            writer.close()

    def _write(self, run: str, step: int, summaries: list[Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        writer = self._files.get(run) or self._open(run)
        for summary in summaries:
            writer.write(Event(wall_time=time.time(), step=step, summary=summary).SerializeToString())
        writer.flush()

    def _open(self, run: str) -> Any:
        """A new file, whose name sorts after those of earlier processes."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = self._folder / run
        folder.mkdir(parents=True, exist_ok=True)
        last = max((int(path.name.split(".")[3]) for path in folder.glob(PATTERN)), default=0)
        second = max(int(time.time()), last + 1)  # a clock that was set back
        name = PATTERN.replace("*", f"{second:010d}.detopt.{os.getpid()}.{next(self._counter)}")
        stream = (folder / name).open("xb")
        writer = self._files[run] = RecordWriter(stream)
        writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        return writer


def _make_scalars(values: Mapping[str, float]) -> list[Any]:
    from torch.utils.tensorboard.summary import scalar

    return [scalar(name, value) for name, value in values.items()]
