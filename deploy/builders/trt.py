"""One ONNX file to one TensorRT plan, in a process of its own (`deploy.builders.build` starts it).

Only names that TensorRT 8.6, 10.3, 10.16 and 11.4 share are used as they are; the rest stands behind a probe. What a
model computes in is written in its ONNX file. A strongly typed network takes it from there; before 10.0 there is none,
so the builder is allowed what the file holds, and nothing else.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any, Mapping

from deploy.builders.inspector import check_precisions, count_precisions, name_precision
from deploy.builders.known_bad import find_known_bad
from deploy.builders.plans import PRIVATE
from deploy.child import Say
from deploy.engines.cuda import open_cuda
from deploy.engines.tensorrt_library import TENSORRT, Library, MessageLog, import_library, make_logger
from deploy.errors import BuildError, EngineError, InputError
from deploy.files import write_file
from deploy.sensors.machine import read_available_bytes

__all__ = ["answer_build", "build_engine", "limit_workspace"]

GIB = 1 << 30


def answer_build(request: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """As `build_engine`, as a child process answers it."""
    return build_engine(request)


def build_engine(request: Mapping[str, Any]) -> dict[str, Any]:
    """Build what a request asks for, check it, and write the plan and the timing cache.

    Args:
        request: "model", "plan" and "timing_cache" are paths, "level" and "allow_tf32" as in `BuildSettings`.

    Returns:
        The build's record: memory, TensorRT's messages, layers by precision, labels for what is doubtful.

    Raises:
        InputError: the file is not an ONNX model that TensorRT's parser takes, or has inputs with a dynamic shape.
        EngineError: TensorRT is missing, is known not to build this, or built another precision than the graph's.
        BuildError: TensorRT failed to build.
    """
    tensorrt = import_library(TENSORRT)
    cuda = open_cuda()
    device, (free_bytes, _) = cuda.read_device(), cuda.read_memory()
    if device.integrated:  # the system's memory, of which CUDA counts only what is not a cache
        free_bytes = max(free_bytes, read_available_bytes() or 0)
    log = MessageLog(sys.stderr)
    logger = make_logger(tensorrt, log)
    tensorrt.init_libnvinfer_plugins(logger, "")
    builder = tensorrt.Builder(logger)
    network = builder.create_network(choose_network_flags(tensorrt))
    parse_model(tensorrt, network, logger, Path(request["model"]), TENSORRT)
    holds = list_contents(tensorrt, network)
    bad = find_known_bad(tensorrt.__version__, device.cuda, holds)
    if bad is not None:
        raise EngineError(
            f"TensorRT {tensorrt.__version__} is not used for {Path(request['model']).name}: {bad.reason} "
            f"({bad.source}); {bad.advice}"
        )
    workspace = limit_workspace(free_bytes)
    config = make_config(tensorrt, builder, holds, workspace, request)
    cache = give_timing_cache(config, Path(request["timing_cache"]))
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise BuildError(f"TensorRT built no engine: {_last(log.errors)}")
    content = bytes(memoryview(serialized))
    engine = tensorrt.Runtime(logger).deserialize_cuda_engine(content)
    if engine is None:
        raise BuildError(f"TensorRT does not load what it built: {_last(log.errors)}")
    inspector = engine.create_engine_inspector()
    histogram = count_precisions(inspector.get_engine_information(tensorrt.LayerInformationFormat.JSON))
    asked = holds & frozenset(("fp16", "int8"))
    doubt = check_precisions(asked, histogram)
    labels: list[str] = [doubt] if doubt else []
    if log.skipped_tactics:
        labels.append(f"degraded: {log.skipped_tactics} tactics were left out for lack of memory")
    saved = config.get_timing_cache()
    if saved is not None:
        write_file(Path(request["timing_cache"]), bytes(memoryview(saved.serialize())), PRIVATE)
    write_file(Path(request["plan"]), content, PRIVATE)
    return {
        "tensorrt": str(tensorrt.__version__),
        "strongly_typed": is_strongly_typed(tensorrt),
        "precision": name_precision(asked),
        "layers_by_precision": dict(histogram.layers),
        "weighted_layers_by_precision": dict(histogram.weighted),
        "labels": labels,
        "degraded": bool(log.skipped_tactics),
        "free_bytes_at_start": free_bytes,
        "workspace_bytes": workspace,
        "peak_host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "engine_bytes": len(content),
        "device_memory_bytes": read_device_memory(engine),
        "timing_cache": cache,
        **log.to_json(),
    }


def is_strongly_typed(tensorrt: Any) -> bool:
    """Whether this release builds what the graph says, and nothing but."""
    return hasattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def choose_network_flags(tensorrt: Any) -> int:
    """Strongly typed where there is such a thing, else with the batch in the shapes."""
    flags = tensorrt.NetworkDefinitionCreationFlag
    name = "STRONGLY_TYPED" if hasattr(flags, "STRONGLY_TYPED") else "EXPLICIT_BATCH"  # gone in 11
    return 1 << int(getattr(flags, name))


def parse_model(tensorrt: Any, network: Any, logger: Any, model: Path, library: Library) -> None:
    """Read an ONNX file into a network of fixed shapes; an `InputError` where it is not one."""
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model)):
        reasons = [" ".join(parser.get_error(place).desc().split()) for place in range(parser.num_errors)]
        version = f"{library.title} {tensorrt.__version__}"
        raise InputError(f"{model} is not a model that {version} takes: {_last(reasons)}")
    for place in range(network.num_inputs):
        shape = tuple(network.get_input(place).shape)
        if any(side < 0 for side in shape):
            raise InputError(
                f"{model} has an input with a dynamic shape, {list(shape)}; a plan has fixed shapes: export the model "
                "with them"
            )


def list_contents(tensorrt: Any, network: Any) -> frozenset[str]:
    """What a network holds that decides how it is built: "fp16", "int8", "topk", "nms"."""
    kinds = {
        tensorrt.LayerType.QUANTIZE: "int8",
        tensorrt.LayerType.DEQUANTIZE: "int8",
        tensorrt.LayerType.TOPK: "topk",
        tensorrt.LayerType.NMS: "nms",
    }
    found = set()
    for place in range(network.num_layers):
        layer = network.get_layer(place)
        if layer.type in kinds:
            found.add(kinds[layer.type])
        if any(layer.get_output(number).dtype == tensorrt.DataType.HALF for number in range(layer.num_outputs)):
            found.add("fp16")
    return frozenset(found)


def make_config(tensorrt: Any, builder: Any, holds: frozenset[str], workspace: int, request: Mapping[str, Any]) -> Any:
    """The builder's settings: memory, effort, and on a network without types of its own, what may be used."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, workspace)
    config.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED  # or the inspector tells no types
    if hasattr(config, "builder_optimization_level"):  # 8.5 has none
        config.builder_optimization_level = request["level"]
    if not request["allow_tf32"]:
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    if not is_strongly_typed(tensorrt):
        for name in ("fp16", "int8"):
            flag = getattr(tensorrt.BuilderFlag, name.upper(), None)
            if name in holds and flag is not None:
                config.set_flag(flag)
    return config


def give_timing_cache(config: Any, path: Path) -> str:
    """Have the builder use what it timed before on this very device; says what came of it."""
    try:
        known = path.read_bytes()
    except FileNotFoundError:
        known = b""
    accepted = config.set_timing_cache(config.create_timing_cache(known), False)  # False: refuse another device's
    if accepted:
        return "used" if known else "new"
    config.set_timing_cache(config.create_timing_cache(b""), False)
    return "refused by TensorRT, begun anew"


def limit_workspace(free_bytes: int) -> int:
    """Bytes of scratch memory a tactic may take: a quarter of what is free, at most 1 GiB."""
    return min(GIB, free_bytes // 4)


def read_device_memory(engine: Any) -> int | None:
    """Bytes of activations an engine needs on the device; None where this release does not say."""
    for name in ("device_memory_size_v2", "device_memory_size"):
        size = getattr(engine, name, None)
        if size is not None:
            return int(size)
    return None


def _last(messages: list[str]) -> str:
    return messages[-1] if messages else "it gave no reason"
