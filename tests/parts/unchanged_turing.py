"""TensorRT for RTX asked for a Turing GPU's plan of a graph that was not rewritten for it, in a child process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.builders import rtx
from deploy.child import Say


def answer_build(request: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """As `deploy.builders.rtx.answer_build`, which recognises no Turing GPU here."""
    rtx.TURING = "none"
    return rtx.answer_build(request, say)
