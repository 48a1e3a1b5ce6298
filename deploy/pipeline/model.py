"""A model file, and what has to be known to use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

from deploy.errors import InputError
from deploy.pipeline.decode import get_head
from deploy.pipeline.nms import Selection, parse_selection
from deploy.pipeline.preprocess import Preprocess

__all__ = ["ModelSource"]


@dataclass(frozen=True)
class ModelSource:
    """A model file, how images become its input, and how its outputs become objects. A `Bundle` is one.

    Attributes:
        preprocess: None where it is not known; such a model can only be timed, on noise.
        head: how its outputs are read, a name in `deploy.pipeline.decode.HEADS`; None leaves them as they are.
        selection: which outputs are objects, for a head that leaves it to the host; None is the head's usual one.
    """

    model: Path
    preprocess: Preprocess | None = None
    head: str | None = None
    selection: Selection | None = None

    @staticmethod
    def of(source: ModelSource, file: Path | None = None) -> ModelSource:
        """What a bundle says of its model, without the bundle; also for another file, as a plan built of the model."""
        return ModelSource(file or source.model, source.preprocess, source.head, source.selection)

    @property
    def detects(self) -> bool:
        """Whether enough is known to detect objects in images."""
        return self.preprocess is not None and self.head is not None

    def to_json(self) -> dict[str, Any]:
        return {
            "model": str(self.model),
            "preprocess": None if self.preprocess is None else self.preprocess.to_json(),
            "head": self.head,
            "selection": None if self.selection is None else self.selection.to_json(),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ModelSource:
        """The inverse of `to_json`; an `InputError` says what is missing or wrong."""
        try:
            preprocess, head = value["preprocess"], value["head"]
            if head is not None:
                get_head(head)
            return ModelSource(
                Path(value["model"]),
                None if preprocess is None else Preprocess.from_json(preprocess),
                head,
                parse_selection(value["selection"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a model's description: {error!r}") from error
