"""From a model's raw outputs to detections on its canvas: one pure function for each kind of head."""

from __future__ import annotations

from typing import Callable, Dict, Mapping

import numpy as np

from deploy.detections import Detections
from deploy.errors import EngineError, InputError

__all__ = ["HEADS", "decode_detections", "get_head"]

Decoder = Callable[[Mapping[str, np.ndarray]], Detections]


def decode_detections(outputs: Mapping[str, np.ndarray]) -> Detections:
    """Of a graph that selects by itself: the first ``count`` rows of boxes (K, 4), scores (K,), labels (K,).

    Rows from ``count`` on are padding and never read.
    """
    missing = [name for name in ("boxes", "scores", "labels", "count") if name not in outputs]
    if missing:
        raise InputError("the model has no output {}; it has {}".format(", ".join(missing), ", ".join(sorted(outputs))))
    count = int(outputs["count"].reshape(-1)[0])
    if not 0 <= count <= len(outputs["scores"]):
        raise EngineError("the model counts {} detections in {} rows".format(count, len(outputs["scores"])))
    return Detections(
        outputs["boxes"][:count].astype(np.float32),
        outputs["scores"][:count].astype(np.float32),
        outputs["labels"][:count].astype(np.int64),
    )


HEADS: Dict[str, Decoder] = {"detections": decode_detections}


def get_head(name: str) -> Decoder:
    """The decoder of a head; an `InputError` lists those there are."""
    if name not in HEADS:
        raise InputError("unknown head {!r}; this release decodes: {}".format(name, ", ".join(sorted(HEADS))))
    return HEADS[name]
