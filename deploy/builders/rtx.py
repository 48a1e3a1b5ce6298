"""One ONNX file to one plan of TensorRT for RTX, ahead of time for a named GPU: no GPU is needed for it.

What differs from TensorRT: the GPU is named, there are no plugins and no timing cache, and as a plan is loaded on its
GPU alone, its layers are read off the network. That network is strongly typed: its types are those of the arithmetic.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Mapping

from deploy.builders.inspector import Histogram, check_precisions, name_precision
from deploy.builders.plans import PRIVATE
from deploy.builders.trt import choose_network_flags, list_contents, make_config, parse_model
from deploy.builders.turing import TURING, write_for_turing
from deploy.child import Say
from deploy.engines.tensorrt_library import RTX, MessageLog, import_library, make_logger
from deploy.errors import BuildError, InputError
from deploy.files import write_file

__all__ = ["answer_build", "build_engine", "count_network"]

SCRATCH_BYTES = 1 << 30  # that a kernel may take on the GPU; how much that has is not known here
NAMES = {"FLOAT": "fp32", "HALF": "fp16", "INT8": "int8", "INT32": "int32", "INT64": "int64", "BOOL": "bool"}
LOWEST_FIRST = ("int8", "fp16", "fp32")


def answer_build(request: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """As `build_engine`, as a child process answers it."""
    return build_engine(request)


def build_engine(request: Mapping[str, Any]) -> dict[str, Any]:
    """Build what a request asks for, check its types, and write the plan.

    Args:
        request: "model" and "plan" are paths, "compute_capabilities" those of the GPUs that the plan is for, as "8.6",
            "level" and "allow_tf32" as in `BuildSettings`.

    Returns:
        The build's record, as `deploy.builders.trt.build_engine` gives it where it can be known without the GPU.

    Raises:
        InputError: the parser does not take the model, or nothing can be built for that GPU.
        EngineError: TensorRT for RTX is missing, or the network is of another precision than the graph.
        BuildError: the builder made no engine of it.
    """
    tensorrt = import_library(RTX)
    model, names = Path(request["model"]), request["compute_capabilities"]
    capabilities = [find_capability(tensorrt, name) for name in names]
    log = MessageLog(sys.stderr)
    logger = make_logger(tensorrt, log)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(choose_network_flags(tensorrt))
    rewritten = 0
    with tempfile.TemporaryDirectory(prefix="turing-") as folder:
        source = model
        if TURING in names:
            source = Path(folder) / model.name
            rewritten = write_for_turing(model, source)
        parse_model(tensorrt, network, logger, source, RTX)
    holds = list_contents(tensorrt, network)
    config = make_config(tensorrt, builder, holds, SCRATCH_BYTES, request)
    config.num_compute_capabilities = len(capabilities)
    for place, capability in enumerate(capabilities):
        config.set_compute_capability(capability, place)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise BuildError(f"TensorRT for RTX built no engine: {log.errors[-1] if log.errors else 'no reason'}")
    content = bytes(memoryview(serialized))
    asked, histogram = holds & frozenset(("fp16", "int8")), count_network(tensorrt, network)
    doubt = check_precisions(asked, histogram)
    write_file(Path(request["plan"]), content, PRIVATE)
    return {
        "tensorrt": str(tensorrt.__version__),
        "strongly_typed": True,
        "precision": name_precision(asked),
        "layers_by_precision": dict(histogram.layers),
        "weighted_layers_by_precision": dict(histogram.weighted),
        "layers_are_of": "network",
        "rewritten_products": rewritten,
        "labels": [doubt] if doubt else [],
        "degraded": bool(log.skipped_tactics),
        "peak_host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "engine_bytes": len(content),
        **log.to_json(),
    }


def find_capability(tensorrt: Any, compute_capability: str) -> Any:
    """The library's word for a compute capability; an `InputError` lists those it builds for."""
    known = {name: value for name, value in vars(tensorrt.ComputeCapability).items() if name.startswith("SM")}
    name = "SM" + compute_capability.replace(".", "")
    if name not in known:
        there = ", ".join(sorted(known, key=lambda name: int(name[2:]))).lower()
        raise InputError(f"TensorRT for RTX builds no plan for {name.lower()}; it does for {there}")
    return known[name]


def count_network(tensorrt: Any, network: Any) -> Histogram:
    """The layers of a strongly typed network by the lowest type that they read or write.

    A layer that reads what was dequantised just before counts as int8: the builder takes such a pair for one. Weighted
    are convolutions and products with constants; the products of NMS by rounds are not.
    """
    kinds = tensorrt.LayerType
    handing_on = (kinds.SHUFFLE, kinds.CAST, kinds.QUANTIZE, kinds.DEQUANTIZE)
    weighted_kinds = (kinds.CONVOLUTION, kinds.DECONVOLUTION, kinds.MATRIX_MULTIPLY)
    dequantised: set[str] = set()
    constant: set[str] = set()
    counts: Counter[str] = Counter()
    weighted: Counter[str] = Counter()
    for place in range(network.num_layers):
        layer = network.get_layer(place)
        read = [layer.get_input(place) for place in range(layer.num_inputs)]
        inputs = [tensor for tensor in read if tensor is not None]
        outputs = [layer.get_output(place) for place in range(layer.num_outputs)]
        names = {tensor.name for tensor in inputs}
        if layer.type == kinds.DEQUANTIZE:
            dequantised.add(outputs[0].name)
        if layer.type == kinds.CONSTANT or (layer.type in handing_on and inputs[0].name in constant):
            constant.add(outputs[0].name)
        is_weighted = layer.type in weighted_kinds and (layer.type != kinds.MATRIX_MULTIPLY or bool(names & constant))
        types = {NAMES.get(tensor.dtype.name, tensor.dtype.name.lower()) for tensor in (*inputs, *outputs)}
        if is_weighted and names & dequantised:
            types.add("int8")
        precision = next((name for name in LOWEST_FIRST if name in types), min(types, default="none"))
        counts[precision] += 1
        weighted[precision] += is_weighted
    return Histogram(dict(sorted(counts.items())), {name: count for name, count in sorted(weighted.items()) if count})
