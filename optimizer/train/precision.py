"""Which arithmetic a device is trained in."""

from __future__ import annotations

import torch

__all__ = ["autocast_dtype"]


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The dtype to autocast to, None for plain fp32.

    "auto" takes fp16 on a GPU, and bf16 on a CPU that says it executes bf16 dot products.
    """
    if precision == "auto":
        if device.type == "cuda":
            return torch.float16
        return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
