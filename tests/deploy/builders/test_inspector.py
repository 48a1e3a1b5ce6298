"""Layers by type, out of what TensorRT's inspector says in its different ways."""

from __future__ import annotations

import json

import pytest

from deploy.builders.inspector import Histogram, check_precisions, count_precisions, name_precision
from deploy.errors import EngineError


def layers(*types: str, key: str = "Format/Datatype") -> str:
    return json.dumps({"Layers": [{"Name": f"layer {text}", "Outputs": [{key: text}]} for text in types]})


def test_types_are_read_in_the_words_of_every_release() -> None:
    old = layers("Row major linear FP16 format", "Two wide channel vectorized row major Int8 format", "Float", "Half")
    assert count_precisions(old).layers == {"fp16": 2, "fp32": 1, "int8": 1}
    new = layers("Float", "Half", "BFloat16", "Int32", "Int64", "Bool", "UInt8", key="DataType")
    names = ("bf16", "bool", "fp16", "fp32", "int32", "int64", "uint8")
    assert count_precisions(new).layers == dict.fromkeys(names, 1)


def test_a_layer_is_of_the_lowest_type_that_it_reads_or_writes() -> None:
    convolution = {
        "Name": "/stem/Conv",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "q", "Format/Datatype": "Int8"}],
        "Outputs": [{"Name": "y", "Format/Datatype": "Float"}],
    }
    found = count_precisions(json.dumps({"Layers": [convolution, {**convolution, "Name": "a", "LayerType": "TopK"}]}))
    assert found == Histogram({"int8": 2}, {"int8": 1})


def test_channels_last_formats_are_not_taken_for_types() -> None:
    found = count_precisions(layers("Channel major FP32 format where channel % 4 == 0"))
    assert found == Histogram({"fp32": 1}, {})


@pytest.mark.parametrize(
    "information", ["", "[]", "{}", '{"Layers": ["conv1", "relu1"]}', '{"Layers": [{"Outputs": []}]}', "null"]
)
def test_what_names_no_types_counts_nothing_and_is_a_doubt(information: str) -> None:
    assert count_precisions(information) == Histogram({}, {})
    doubt = check_precisions(frozenset(), Histogram({}, {}))
    assert doubt is not None and "not known" in doubt


@pytest.mark.parametrize(
    ("asked", "found", "words"),
    [
        (("fp16",), {"fp32": 9}, "no layer is fp16"),
        (("int8",), {"fp32": 9}, "no layer is int8"),
        (("fp16", "int8"), {"fp16": 3, "fp32": 1}, "no layer is int8"),
        ((), {"fp32": 9, "fp16": 2}, "2 layers are fp16, unasked"),
    ],
)
def test_another_precision_than_asked_is_refused(asked: tuple[str, ...], found: dict[str, int], words: str) -> None:
    with pytest.raises(EngineError, match=words):
        check_precisions(frozenset(asked), Histogram(found, found))


def test_an_engine_whose_convolutions_are_mostly_fp32_is_labelled() -> None:
    asked, layers_found = frozenset(("fp16",)), {"fp16": 20, "fp32": 30}  # box decoding and NMS stay fp32
    assert check_precisions(asked, Histogram(layers_found, {"fp16": 9, "fp32": 1})) is None
    label = check_precisions(asked, Histogram(layers_found, {"fp16": 2, "fp32": 8}))
    assert label == "most convolutions and matrix products are fp32, not fp16: 2 fp16, 8 fp32"
    assert check_precisions(frozenset(), Histogram({"fp32": 9, "int32": 4}, {"fp32": 9})) is None


def test_a_model_is_called_by_its_lowest_precision() -> None:
    names = [name_precision(frozenset(held)) for held in ((), ("fp16",), ("fp16", "int8"), ("int8",))]
    assert names == ["fp32", "fp16", "int8", "int8"]
