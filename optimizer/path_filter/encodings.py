"""Sinusoidal encodings of a layer's and of a block's place (DetOFA, equation 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

__all__ = ["Encoding", "encode_places"]

Encoding = Literal["literal", "standard"]


def encode_places(places: Sequence[int], width: int, encoding: Encoding) -> Tensor:
    """One row of sines (even columns) and cosines (odd columns) per place (places, width).

    Args:
        encoding: "literal" divides the exponent by the largest place, as the paper prints it; "standard" by the width,
            as Transformers do.
    """
    assert width % 2 == 0
    place = np.asarray(places, dtype=np.float64)[:, None]
    scale = max(1, *places) if encoding == "literal" else width
    angles = place * 10000.0 ** (-np.arange(0, width, 2) / scale)
    return torch.from_numpy(np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(len(places), width)).float()
