"""TensorRT releases and what each documents about ONNX: opsets, operators, the types they compute in.

Facts of the operator lists of onnx-tensorrt 8.5 and 10.15 and its changelog up to 10.15, of NVIDIA's opset guide and
release notes for 11.x, and of the layer reference where a list is silent. Nobody ran TensorRT to fill this in. What
no source says is None here, and "unknown" to whoever asks:

- 8.6 is the list of 8.5 with what the changelog adds in 8.6.
- 10.3 and 10.16 are the list of 10.15, 10.3 without what the changelog adds after it.
- 11.4 is the list of 10.15 with what the release notes add; an operator that was not in that list may have come since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

__all__ = ["ANY_TYPE", "RELEASES", "RTX", "TYPE_NAMES", "Release", "find_release", "releases_of"]

# One letter a type, by the number ONNX gives it (TensorProto.DataType).
# fmt: off
TYPE_LETTERS: dict[int, str] = {
    1: "f", 2: "u", 3: "q", 6: "i", 7: "l", 9: "o", 10: "h", 11: "d", 16: "b", 17: "8", 22: "4", 23: "e",
}
TYPE_NAMES: dict[int, str] = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
    17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4",
    23: "float4e2m1",
}
# fmt: on
ANY_TYPE = "*"

# Types in 8.6, types in 10.x, operators ("" where that release does not take them, "?" where its list has no such row).
# Not from the lists: reductions of integers on 8.6 and NonZero of bool and int32 are in the layer reference, and
# ConstantOfShape of more than float32 on 8.6 is in the parser's source, which refuses uint8 alone.
_TABLE: tuple[tuple[str, str, str], ...] = (
    ("fhi", "fhbil", "Abs Add ArgMax ArgMin DepthToSpace Div Equal Greater GreaterOrEqual IsNaN Less LessOrEqual Max "
     "Mean Min Mod Mul Neg Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin "
     "ReduceProd ReduceSum ReduceSumSquare Shrink SpaceToDepth Sub Sum TopK"),
    ("fh", "fhb", "Acos Acosh Asin Asinh Atan Atanh BatchNormalization Ceil Celu Cos Cosh CumSum Dropout Einsum Erf "
     "Exp Floor GRU ImageScaler InstanceNormalization LRN LSTM Log LogSoftmax LpNormalization MatMul "
     "MeanVarianceNormalization QuantizeLinear RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike "
     "Reciprocal Resize Scan Sin Sinh Softmax Sqrt Tan Upsample LayerNormalization GroupNormalization IsInf"),
    ("fhq", "fhb", "Clip Conv ConvTranspose Elu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool HardSigmoid "
     "HardSwish LeakyRelu LpPool MaxPool PRelu ParametricSoftplus Round ScaledTanh Selu Sigmoid Softplus Softsign Tanh "
     "ThresholdedRelu"),
    ("fhq", "fhbil", "Relu"),
    ("fh", "fhbil", "Pow"),
    ("fhqi", "fhb", "AveragePool"),
    ("fhqi", "fhbil", "Pad Scatter ScatterElements ScatterND Sign"),
    ("fhqio", "fhbilo", "Concat Gather GatherElements GatherND Identity Reshape Shape Size Slice Squeeze Transpose "
     "Trilu Unsqueeze"),
    ("fhqio", "fhbilou", "Cast"),
    ("?", "fhbilou", "CastLike"),
    ("fhqio", "fhbil8e4o", "Constant ConstantOfShape"),
    ("fhio", "fhbilo", "Expand EyeLike Flatten If Loop OneHot Split Tile Where"),
    ("fh", "fhbilo", "ReverseSequence"),
    ("o", "o", "And Not Or Xor"),
    ("fh", "fh", "GridSample NonMaxSuppression RoiAlign"),
    ("fhio", "fhio", "NonZero"),
    ("q", "q8e4", "DequantizeLinear"),
    ("", "fh", "BlackmanWindow DeformConv HammingWindow HannWindow"),
    ("?", "fh", "Mish"),
    ("?", "fhbqil", "Gelu"),
    ("", "fhb", "Hardmax RMSNormalization RotaryEmbedding"),
    ("", "fhbq8", "Attention"),
    ("", "fhbi", "TensorScatter"),
    ("", "f", "STFT"),
    ("", "", "AffineGrid Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad Col2Im Compress "
     "ConcatFromSequence ConvInteger DFT Det DynamicQuantizeLinear ImageDecoder MatMulInteger MaxRoiPool MaxUnpool "
     "MelWeightMatrix Multinomial NegativeLogLikelihoodLoss Optional OptionalGetElement OptionalHasElement QLinearConv "
     "QLinearMatMul RegexFullMatch SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert "
     "SequenceLength SequenceMap SoftmaxCrossEntropyLoss SplitToSequence StringConcat StringNormalizer StringSplit "
     "TfIdfVectorizer Unique"),
)  # fmt: skip
# fmt: off
_AFTER_10_3 = frozenset((
    "Attention", "BlackmanWindow", "HammingWindow", "HannWindow", "RMSNormalization", "RotaryEmbedding", "STFT",
    "TensorScatter",
))
# fmt: on
_WHEN_IS_NOT_KNOWN = frozenset(("Gelu", "Mish"))  # in the list of 10.15, in no changelog entry
_NEW_IN_11 = frozenset(("DFT", "Swish"))


@dataclass(frozen=True)
class Release:
    """One TensorRT release line.

    Attributes:
        runs_on: where one meets it.
        lowest_opset, highest_opset: that its parser reads.
        operators: types an operator computes in, as letters; None for what is not known, "" for what is not taken,
            `ANY_TYPE` for an operator that is taken with types that are not known.
        native_int64: whether int64 is a type of its own; before 9.0 the parser casts it down to int32.
        network_types: types of inputs and outputs.
        plugins: operators outside ONNX that its own plugin library is documented to register.
        dropped_plugins: those that it used to register.
    """

    version: str
    runs_on: str
    lowest_opset: int
    highest_opset: int
    operators: Mapping[str, str | None]
    native_int64: bool
    network_types: str
    plugins: frozenset[str]
    dropped_plugins: frozenset[str] = frozenset()

    def letter_of(self, element_type: int) -> str:
        """The letter of an ONNX type as this release computes with it; "" for one that it does not have."""
        letter = TYPE_LETTERS.get(element_type, "")
        return "i" if letter == "l" and not self.native_int64 else letter


def _operators(version: str) -> dict[str, str | None]:
    operators: dict[str, str | None] = {}
    for types_8_6, types_10, names in _TABLE:
        for name in names.split():
            types: str | None = types_8_6 if version == "8.6" else types_10
            if version == "10.3":
                types = "" if name in _AFTER_10_3 else None if name in _WHEN_IS_NOT_KNOWN else types
                types = "fhb" if name == "Pow" else types  # integers came with 10.8 and 10.12
                types = "q84" if name == "DequantizeLinear" else types  # float4 came with 10.8
            if version == "11.4" and types == "":
                types = None
            operators[name] = None if types == "?" else types
    if version == "11.4":
        operators.update(dict.fromkeys(_NEW_IN_11, ANY_TYPE))
    return operators


_NMS_PLUGINS = frozenset(("EfficientNMS_TRT", "EfficientNMS_ONNX_TRT"))
_ONNX_NMS_PLUGIN = frozenset(("EfficientNMS_ONNX_TRT",))

RELEASES: Mapping[str, Release] = {
    "8.6": Release("8.6", "JetPack 6.0", 7, 17, _operators("8.6"), False, "fhqio", _NMS_PLUGINS),
    "10.3": Release("10.3", "JetPack 6.1 to 6.2", 9, 20, _operators("10.3"), True, "fhbqilou", _NMS_PLUGINS),
    "10.16": Release(
        "10.16", "JetPack 7.2", 9, 24, _operators("10.16"), True, "fhbqilou", _NMS_PLUGINS - _ONNX_NMS_PLUGIN,
        _ONNX_NMS_PLUGIN,
    ),
    "11.4": Release(
        "11.4", "desktop GPUs, JetPack 7.2.2", 9, 25, _operators("11.4"), True, "fhbqilou", frozenset(),
        _ONNX_NMS_PLUGIN,
    ),
}  # fmt: skip

# What the ahead-of-time builder said of our graphs (tests marked rtx); the rest is as of TensorRT 11.4.
RTX = Release(
    "rtx-1.7", "NVIDIA RTX GPUs", 9, 25, {**_operators("11.4"), "NonMaxSuppression": "", "RoiAlign": ""}, True,
    "fhbqilou", frozenset(),
)  # fmt: skip


def find_release(version: str) -> Release | None:
    """The release of this name, of TensorRT or of TensorRT for RTX."""
    return RTX if version == RTX.version else RELEASES.get(version)


def releases_of(parser: str) -> tuple[str, ...]:
    """All releases of "tensorrt" or "tensorrt-rtx"; none of anything else."""
    return {"tensorrt": tuple(RELEASES), "tensorrt-rtx": (RTX.version,)}.get(parser, ())
