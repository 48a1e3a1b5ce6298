"""Answers of a board: whether they are what was asked for, with values that can be; a `ValueError` otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Mapping

import numpy as np

from deploy.detections import Detections
from deploy.errors import InputError
from deploy.foreign import make_printable
from deploy.measuring.measure import Measured
from deploy.measuring.protocols import get_protocol
from deploy.measuring.record import PROTOCOL_VERSION, LatencyRecord, MeasurementFailure
from deploy.pipeline.detector import Timings
from deploy.targets.agent import BOARD_LEASE
from deploy.targets.examine import STATES, Condition
from deploy.targets.record_form import LIMIT_MS, find_misfit, is_list_of_detections
from deploy.targets.spec import TargetSpec

__all__ = ["parse_conditions", "parse_detected", "parse_measured"]

CONDITIONS_LIMIT = 64


def parse_measured(value: Any, digest: str, model: str, protocol: str, target: TargetSpec) -> Measured:
    """A latency record of the model with this SHA-256 at this protocol, or the board's reason why there is none."""
    if isinstance(value, dict) and isinstance(value.get("error"), str):
        return MeasurementFailure(protocol, model, target.name, make_printable(value["error"], 2000))
    try:
        record = LatencyRecord.from_json(value)
        _check_record(record, digest, protocol, target.measuring.mode)
        json.dumps(record.to_json(), allow_nan=False)
    except (InputError, ArithmeticError, AssertionError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"not a latency record: {error}") from error
    misfit = find_misfit(value) or _find_contradiction(value, record)
    if misfit:
        raise ValueError(f"not a latency record: {make_printable(misfit, 80)} cannot be what it is")
    return replace(record, target=target.name)


def parse_detected(answer: Any, images: int) -> list[tuple[int, Detections, Timings]]:
    """Objects in each of so many images that could be read, with its position."""
    if not is_list_of_detections(answer):
        raise ValueError("not a list of detections, with numbers that can be")
    positions = [item["image"] for item in answer]
    if positions != sorted(set(positions)) or not set(positions) <= set(range(images)):
        raise ValueError("it answers for other images than it was asked for")
    return [_parse_image(item) for item in answer]


def parse_conditions(answer: Any) -> list[Condition]:
    """What an agent found on its machine."""
    if not isinstance(answer, list) or not 0 < len(answer) <= CONDITIONS_LIMIT:
        raise ValueError("not a list of conditions")
    conditions = []
    for item in answer:
        whole = isinstance(item, list) and len(item) == len(Condition._fields)
        if not whole or not all(isinstance(part, str) for part in item) or item[0] not in STATES:
            raise ValueError("not a list of conditions")
        conditions.append(Condition(*(make_printable(part, 300) for part in item)))
    return conditions


def _check_record(record: LatencyRecord, digest: str, protocol: str, mode: str) -> None:
    if (record.model_sha256, record.target, record.protocol, record.mode) != (digest, BOARD_LEASE, protocol, mode):
        raise ValueError("it is of another model, target, protocol or mode")
    if record.protocol_version != PROTOCOL_VERSION:
        raise ValueError("it is of another protocol version")
    rules = get_protocol(protocol, mode)
    canaries = [value for item in record.canaries for value in item]
    medians = [value for value in (record.pre_ms, record.gpu_ms) if value is not None]
    numbers = np.array([*record.samples_ms, *canaries, *medians], np.float64)
    if not np.all(np.isfinite(numbers)) or numbers.min() <= 0 or numbers.max() > LIMIT_MS:
        raise ValueError("its latencies must be positive and finite")
    sizes = sorted(map(len, record.windows_ms))
    counts: dict[str, tuple[int, int, int]] = {  # found, at least and at most: its interval takes time by them
        "canaries": (len(record.canaries), rules.processes, rules.processes),
        "warm-ups": (len(record.warm_up), rules.processes, rules.processes),
        "windows": (len(record.windows_ms), rules.processes, rules.processes * rules.windows),
        "samples per window": (sizes[0], rules.window_min_runs, rules.window_runs),
        "samples in the longest window": (sizes[-1], rules.window_min_runs, rules.window_runs),
    }
    for what, (found, least, most) in counts.items():
        if found < least:
            raise ValueError(f"it holds {found} {what}, and {protocol} takes {least} at least")
        if found > most:
            raise ValueError(f"it holds {found} {what}, and {protocol} takes {most} at most")
    texts = (record.lease, record.measured_at, record.bound, record.feeds, record.device.cpu, record.device.runtime)
    if not all(isinstance(text, str) and len(text) < 1000 for text in (*texts, *record.flags)):
        raise ValueError("its text fields must be short strings")
    if type(record.device.threads) is not int or type(record.device.cores) is not int:
        raise ValueError("its thread and core counts must be integers")


def _find_contradiction(value: Mapping[str, Any], record: LatencyRecord) -> str:
    """The first figure that does not follow from the samples; the interval, a bootstrap's, is not looked at."""
    for key, figure in record.to_json().items():
        if isinstance(figure, (int, float)):
            stated = value[key]
            if stated is None or abs(figure - stated) > 1e-3 + 1e-6 * abs(figure):
                return key
    return ""


def _parse_image(item: Mapping[str, Any]) -> tuple[int, Detections, Timings]:
    """What was found in one image; every value is of its kind already."""
    found = Detections(
        np.array(item["boxes_xyxy"], np.float32).reshape(-1, 4),
        np.array(item["scores"], np.float32),
        np.array(item["labels"], np.int64),
    )
    if np.any(found.boxes_xyxy[:, 2:] < found.boxes_xyxy[:, :2]):
        raise ValueError("boxes whose second corner is before the first")
    if np.any(np.diff(found.scores) > 0):
        raise ValueError("scores that do not descend")
    return item["image"], found, Timings(float(item["pre_ms"]), float(item["infer_ms"]))
