"""The canary: one small fixed model, timed before and after every lease, so that drift is the machine's and is seen.

Four 3x3 convolutions with ReLU on 16x56x56 (87 million multiply-accumulates). Its weights are constants the runtime
fills in on loading, which is why the whole file fits here. Made by benchmarks/make_canary.py.
"""

from __future__ import annotations

import base64
from pathlib import Path

__all__ = ["CANARY_SHA256", "write_canary"]

CANARY_SHA256 = "104f8e06aa708b349f1613574390023b2ce318971cb4cd93a16101c4ffa0c3d9"
CANARY_BASE64 = (
    "CAgSBmRldG9wdDq2BAo0CgJzMBICdzAiD0NvbnN0YW50T2ZTaGFwZSoZCgV2YWx1ZSoNCAEQASIECtcjPEIBdqABBAokCgF4CgJ3"
    "MBICYzAiBENvbnYqEQoEcGFkc0ABQAFAAUABoAEHCg4KAmMwEgJyMCIEUmVsdQo0CgJzMRICdzEiD0NvbnN0YW50T2ZTaGFwZSoZ"
    "CgV2YWx1ZSoNCAEQASIECtcjPEIBdqABBAolCgJyMAoCdzESAmMxIgRDb252KhEKBHBhZHNAAUABQAFAAaABBwoOCgJjMRICcjEi"
    "BFJlbHUKNAoCczISAncyIg9Db25zdGFudE9mU2hhcGUqGQoFdmFsdWUqDQgBEAEiBArXIzxCAXagAQQKJQoCcjEKAncyEgJjMiIE"
    "Q29udioRCgRwYWRzQAFAAUABQAGgAQcKDgoCYzISAnIyIgRSZWx1CjQKAnMzEgJ3MyIPQ29uc3RhbnRPZlNoYXBlKhkKBXZhbHVl"
    "Kg0IARABIgQK1yM8QgF2oAEECiUKAnIyCgJ3MxICYzMiBENvbnYqEQoEcGFkc0ABQAFAAUABoAEHCg4KAmMzEgJyMyIEUmVsdRIG"
    "Y2FuYXJ5Kg4IBBAHOgQgEAMDQgJzMCoOCAQQBzoEICADA0ICczEqDggEEAc6BCAgAwNCAnMyKg4IBBAHOgQQIAMDQgJzM1obCgF4"
    "EhYKFAgBEhAKAggBCgIIEAoCCDgKAgg4YhwKAnIzEhYKFAgBEhAKAggBCgIIEAoCCDgKAgg4QgQKABAR"
)


def write_canary(path: Path) -> Path:
    """The canary as an ONNX file: input "x" (1, 16, 56, 56) float32."""
    path.write_bytes(base64.b64decode(CANARY_BASE64))
    return path
