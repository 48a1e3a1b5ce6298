"""Threads of ONNX Runtime that have nothing to do: they spin where a latency is timed, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy import PROTOCOLS, Bundle, get_target
from deploy.data.images import ImageFile
from deploy.engines.ort import NO_SPINNING, OrtEngine
from deploy.measuring.request import MeasuringRequest
from deploy.measuring.timing import time_models


@pytest.fixture
def spinning(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of every session that is opened, whether its idle threads spin."""
    seen: list[bool] = []
    open_session = OrtEngine._open_session

    def watch(engine: OrtEngine, *arguments: Any) -> Any:
        session = open_session(engine, *arguments)
        ((name, value),) = NO_SPINNING
        try:
            seen.append(session.get_session_options().get_session_config_entry(name) != value)
        except RuntimeError:  # the runtime has nothing under that name: its default
            seen.append(True)
        return session

    monkeypatch.setattr(OrtEngine, "_open_session", watch)
    return seen


def test_detections_are_found_by_threads_that_wait(
    spinning: list[bool], tiny_bundle: Bundle, write_image: Callable[..., Path]
) -> None:
    found = list(get_target("cpu").detect(tiny_bundle, [ImageFile(write_image(), None)]))
    assert len(found) == 1 and spinning == [False]


def test_latencies_are_those_of_a_deployed_program(spinning: list[bool], tiny_bundle: Bundle) -> None:
    time_models(MeasuringRequest({"a": tiny_bundle}, (), "quick"), [], lambda line: None, lambda name: None)
    assert spinning[:2] == [True, True] and all(spinning), "the canary's, and one for each window"
    assert 2 <= len(spinning) <= 1 + PROTOCOLS["quick"].windows
