"""Which arithmetic a device is trained in."""

from __future__ import annotations

import platform

import torch

__all__ = ["autocast_dtype"]

X86 = ("x86_64", "AMD64")


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The dtype to autocast to, None for plain fp32.

    "auto" takes fp16 on a GPU, and bf16 on a CPU that executes bf16 dot products.
    """
    if precision == "auto":
        if device.type == "cuda":
            return torch.float16
        return torch.bfloat16 if _executes_bf16() else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _executes_bf16() -> bool:
    """Whether the CPU has instructions for bf16.

    oneDNN takes bf16 on x86 CPUs with AVX-512 that have none, too; a step then takes nearly twice as long as in fp32.
    """
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return platform.machine() not in X86 or torch.cpu._is_avx512_bf16_supported()
