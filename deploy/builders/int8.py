"""INT8 as pairs of QuantizeLinear and DequantizeLinear, written by ONNX Runtime's static quantiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["STYLES", "quantise_to_int8"]

# What an engine runs fast, by its name. TensorRT reads zero points of 0 alone, and no int32. On x86 ONNX Runtime has
# integer kernels for uint8 features: it takes 33 of an r18's 43 convolutions of the one style, 10 of the other.
STYLES: Mapping[str, Mapping[str, Any]] = {
    "trt": {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    "ort": {"ActivationSymmetric": False, "WeightSymmetric": True, "QuantizeBias": True},
}
UNSIGNED = ("ort",)  # engines whose features are uint8


def quantise_to_int8(
    model: onnx.ModelProto, nodes: Sequence[str], ranges: Mapping[str, tuple[float, float]], engine: str = "trt"
) -> onnx.ModelProto:
    """A copy of a model whose nodes of these names read and write int8: a scale a tensor, for weights one a channel.

    Args:
        ranges: least and greatest value of each tensor that they read or write, as `calibrate` finds them.
        engine: what it is for, a key of `STYLES`; both styles run on ONNX Runtime, one of them fast.
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
        QuantType.QUInt8 if engine in UNSIGNED else QuantType.QInt8,
        TensorsData(CalibrationMethod.MinMax, limits),
        list(nodes),
        [],
        kinds,
        dict(STYLES[engine]),
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    quantised: onnx.ModelProto = quantiser.model.model
    return quantised
