"""INT8 as pairs of QuantizeLinear and DequantizeLinear, written by ONNX Runtime's static quantiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping, Sequence

import numpy as np

from deploy.engines import get_engine

if TYPE_CHECKING:
    import onnx

__all__ = ["quantise_to_int8"]


def quantise_to_int8(
    model: onnx.ModelProto, nodes: Sequence[str], ranges: Mapping[str, tuple[float, float]], engine: str = "trt"
) -> onnx.ModelProto:
    """A copy of a model whose nodes of these names read and write int8: a scale a tensor, for weights one a channel.

    Args:
        ranges: least and greatest value of each tensor that they read or write, as `calibrate` finds them.
        engine: what it is for; every style runs on ONNX Runtime, one of them fast.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    style = get_engine(engine).int8
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if not nodes:
        return copy
    limits = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    kinds = sorted({node.op_type for node in copy.graph.node if node.name in set(nodes)})
    inferred = onnx.shape_inference.infer_shapes(copy)
    add_infer_metadata(inferred)  # else it does so again, through files, and takes one that a full disk cut short
    quantiser = QDQQuantizer(
        inferred,
        True,
        False,
        QuantType.QInt8,
        QuantType.QUInt8 if style.unsigned else QuantType.QInt8,
        TensorsData(CalibrationMethod.MinMax, limits),
        list(nodes),
        [],
        kinds,
        {"ActivationSymmetric": not style.unsigned, "WeightSymmetric": True, "QuantizeBias": style.biases},
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    quantised: onnx.ModelProto = quantiser.model.model
    return quantised
