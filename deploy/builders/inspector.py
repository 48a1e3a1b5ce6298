"""What an engine computes in, read from TensorRT's engine inspector: layers by type, against what was asked."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Iterator, Mapping

from deploy.errors import EngineError

__all__ = ["Histogram", "check_precisions", "count_precisions", "name_precision"]

# Types as they are spelled: "Half", or "Row major linear FP16 format". A word that holds another comes first.
_WORDS = (
    ("bfloat16", "bf16"), ("bf16", "bf16"), ("float8", "fp8"), ("fp8", "fp8"), ("fp4", "fp4"), ("int64", "int64"),
    ("int32", "int32"), ("uint8", "uint8"), ("int8", "int8"), ("int4", "int4"), ("bool", "bool"), ("half", "fp16"),
    ("float16", "fp16"), ("fp16", "fp16"), ("float", "fp32"), ("fp32", "fp32"),
)  # fmt: skip
_ARITHMETIC = ("fp4", "int4", "fp8", "int8", "fp16", "bf16", "fp32")  # the lowest first
_WEIGHTED = ("conv", "gemm", "matmul", "matrixmultiply", "fullyconnected")
LOW = frozenset(("fp16", "int8"))


@dataclass(frozen=True)
class Histogram:
    """Layers by the lowest type that they read or write.

    Attributes:
        layers: all of them; empty where the inspector names no types.
        weighted: convolutions and matrix products, which is where a lower precision is meant to save time.
    """

    layers: Mapping[str, int]
    weighted: Mapping[str, int]


def count_precisions(information: str) -> Histogram:
    """The histogram of what the inspector says of an engine, as JSON.

    8.6 to 10.16 say "Format/Datatype" of a tensor, 11 says "DataType" and "Format" apart; both are read.
    """
    layers: Counter[str] = Counter()
    weighted: Counter[str] = Counter()
    for layer in _list_layers(information):
        precision = _precision_of(layer)
        if precision is not None:
            layers[precision] += 1
            called = " ".join(str(layer.get(key, "")) for key in ("Name", "LayerType", "Metadata")).lower()
            weighted[precision] += any(word in called for word in _WEIGHTED)
    return Histogram(
        dict(sorted(layers.items())), {name: weighted[name] for name in sorted(weighted) if weighted[name]}
    )


def check_precisions(asked: frozenset[str], found: Histogram) -> str | None:
    """What is doubtful about an engine, for a label; None where its layers are what was asked.

    Args:
        asked: what the graph holds besides FP32: "fp16", "int8".

    Raises:
        EngineError: a precision that was asked for is in no layer, or one that was not asked for is in some.
    """
    if not found.layers:
        return "the inspector names no types: what the engine computes in is not known"
    low = frozenset(found.layers) & LOW
    missing, surplus = asked - low, low - asked
    if missing or surplus:
        parts = [f"no layer is {name}" for name in sorted(missing)]
        parts += [f"{found.layers[name]} layers are {name}, unasked" for name in sorted(surplus)]
        raise EngineError(
            f"the engine does not have the precision of its graph: {', '.join(parts)}; "
            f"layers by type: {_describe(found.layers)}"
        )
    if asked and sum(found.weighted.get(name, 0) for name in LOW) < found.weighted.get("fp32", 0):
        return (
            f"most convolutions and matrix products are fp32, not {name_precision(asked)}: {_describe(found.weighted)}"
        )
    return None


def name_precision(precisions: frozenset[str]) -> str:
    """The lowest of the precisions, which a model is called by: "int8" of fp16 and int8."""
    return "int8" if "int8" in precisions else "fp16" if "fp16" in precisions else "fp32"


def _describe(histogram: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(histogram.items()))


def _list_layers(information: str) -> Iterator[Mapping[str, Any]]:
    try:
        content = json.loads(information)
    except ValueError:
        return
    layers = content.get("Layers", []) if isinstance(content, dict) else []
    yield from (layer for layer in layers if isinstance(layer, dict))


def _precision_of(layer: Mapping[str, Any]) -> str | None:
    """The lowest type it computes in; of one that handles only integers or bits, theirs."""
    types: list[str] = []
    for tensor in [*(layer.get("Outputs") or ()), *(layer.get("Inputs") or ())]:
        if isinstance(tensor, dict):
            text = " ".join(str(tensor.get(key, "")) for key in ("DataType", "Datatype", "Format/Datatype")).lower()
            types += [name for word, name in _WORDS if word in text][:1]
    return next((name for name in _ARITHMETIC if name in types), types[0] if types else None)
