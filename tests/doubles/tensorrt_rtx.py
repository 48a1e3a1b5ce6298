"""A double of TensorRT for RTX: that of TensorRT, with what differs."""

from __future__ import annotations

import enum
from typing import Any

import tensorrt
from tensorrt import *  # noqa: F403

__version__ = "1.7.1.116"
OnnxParser, ILogger = tensorrt.OnnxParser, tensorrt.ILogger
del init_libnvinfer_plugins  # noqa: F821


class ComputeCapability(enum.IntEnum):
    SM75, SM86, SM87, SM120 = range(4)


class Config(tensorrt.Config):
    num_compute_capabilities = 0

    def set_compute_capability(self, capability: ComputeCapability, place: int) -> bool:
        assert place < self.num_compute_capabilities
        self.capability = capability
        return True


class Builder(tensorrt.Builder):
    def create_builder_config(self) -> Config:
        return Config()

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        assert isinstance(config.capability, ComputeCapability)
        content: bytes | None = super().build_serialized_network(network, config)
        return content


class RuntimeCache:
    def __init__(self) -> None:
        self.content = b"kernels"

    def deserialize(self, content: bytes) -> bool:
        return content == self.content

    def serialize(self) -> bytes:
        return self.content


class RuntimeConfig:
    cache: RuntimeCache | None = None

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


def create_context(self: Any, config: RuntimeConfig) -> Any:
    assert config.cache is not None
    return tensorrt.Context(self)


class Engine(tensorrt.Engine):
    create_execution_context = create_context

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig()


class Runtime(tensorrt.Runtime):  # type: ignore[no-redef]
    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        found = super().deserialize_cuda_engine(content)
        if found is not None:
            found.__class__ = Engine
        return found
