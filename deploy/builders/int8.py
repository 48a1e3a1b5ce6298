"""INT8 as pairs of QuantizeLinear and DequantizeLinear, written by ONNX Runtime's static quantiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping, Sequence, Tuple

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["quantise_to_int8"]

# Symmetric everywhere and biases in FP32: TensorRT reads zero points of 0 alone, and no int32.
OPTIONS = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}


def quantise_to_int8(
    model: onnx.ModelProto, nodes: Sequence[str], ranges: Mapping[str, Tuple[float, float]]
) -> onnx.ModelProto:
    """A copy of a model whose nodes of these names read and write int8: a scale a tensor, for weights one a channel.

    Args:
        ranges: least and greatest value of each tensor that they read or write, as `calibrate` finds them.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if not nodes:
        return copy
    limits = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    kinds = sorted({node.op_type for node in copy.graph.node if node.name in set(nodes)})
    quantiser = QDQQuantizer(
        onnx.shape_inference.infer_shapes(copy),
        True,
        False,
        QuantType.QInt8,
        QuantType.QInt8,
        TensorsData(CalibrationMethod.MinMax, limits),
        list(nodes),
        [],
        kinds,
        dict(OPTIONS),
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    quantised: onnx.ModelProto = quantiser.model.model
    return quantised
