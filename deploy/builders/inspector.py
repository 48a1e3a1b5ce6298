"""What an engine computes in, read from TensorRT's engine inspector: layers by type, against what was asked."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Dict, FrozenSet, Iterator, Mapping, Optional

from deploy.errors import EngineError

__all__ = ["count_precisions", "judge_precisions", "name_precision"]

# In a layer's outputs: "Half", or at the end of a sentence, "Row major linear FP16 format". The longer names first.
_WORDS = (
    ("bfloat16", "bf16"), ("bf16", "bf16"), ("float8", "fp8"), ("fp8", "fp8"), ("fp4", "fp4"), ("int64", "int64"),
    ("int32", "int32"), ("int8", "int8"), ("int4", "int4"), ("uint8", "uint8"), ("bool", "bool"), ("half", "fp16"),
    ("float16", "fp16"), ("fp16", "fp16"), ("float", "fp32"), ("fp32", "fp32"),
)  # fmt: skip
LOW = frozenset(("fp16", "int8"))


def count_precisions(information: str) -> Dict[str, int]:
    """Layers by the type of their first output, from the inspector's JSON; empty where it names no types.

    8.6 to 10.16 say "Format/Datatype", 11 says "DataType" and "Format" apart; both are read.
    """
    counts: Counter[str] = Counter()
    for layer in _list_layers(information):
        precision = _precision_of(layer)
        if precision is not None:
            counts[precision] += 1
    return dict(sorted(counts.items()))


def judge_precisions(asked: FrozenSet[str], histogram: Mapping[str, int]) -> Optional[str]:
    """What is doubtful about an engine, for a label; None where its layers are what was asked.

    Args:
        asked: what the graph holds besides FP32: "fp16", "int8".

    Raises:
        EngineError: a precision that was asked for is in no layer, or one that was not asked for is in some.
    """
    if not histogram:
        return "the inspector names no types: what the engine computes in is not known"
    found = frozenset(histogram) & LOW
    missing, surplus = asked - found, found - asked
    if missing or surplus:
        parts = ["no layer is {}".format(name) for name in sorted(missing)]
        parts += ["{} layers are {}, unasked".format(histogram[name], name) for name in sorted(surplus)]
        raise EngineError(
            "the engine is not of the precision of its graph: {}; layers by type: {}".format(
                ", ".join(parts), _describe(histogram)
            )
        )
    if asked:
        low = sum(histogram[name] for name in found)
        if low < histogram.get("fp32", 0):
            return "more layers are fp32 than {}: {}".format(name_precision(asked), _describe(histogram))
    return None


def name_precision(precisions: FrozenSet[str]) -> str:
    """The lowest of the precisions, which a model is called by: "int8" of fp16 and int8."""
    return "int8" if "int8" in precisions else "fp16" if "fp16" in precisions else "fp32"


def _describe(histogram: Mapping[str, int]) -> str:
    return ", ".join("{} {}".format(count, name) for name, count in sorted(histogram.items()))


def _list_layers(information: str) -> Iterator[Mapping[str, Any]]:
    try:
        content = json.loads(information)
    except ValueError:
        return
    layers = content.get("Layers", []) if isinstance(content, dict) else []
    yield from (layer for layer in layers if isinstance(layer, dict))


def _precision_of(layer: Mapping[str, Any]) -> Optional[str]:
    outputs = [output for output in layer.get("Outputs") or () if isinstance(output, dict)]
    for output in outputs:
        for key in ("DataType", "Datatype", "Format/Datatype"):
            text = str(output.get(key, "")).lower()
            for word, name in _WORDS:
                if word in text:
                    return name
    return None
