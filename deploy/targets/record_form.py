"""What each value of a board's answers has to be, in JSON: it may send anything."""

from __future__ import annotations

from typing import Any, Callable, Mapping

__all__ = ["LIMIT_MS", "find_misfit", "is_list_of_detections"]

LIMIT_MS = 1e7
LIST_LIMIT = 1 << 20
TEXT_LIMIT = 1000
Form = Callable[[Any], bool]


def find_misfit(record: Any) -> str:
    """The first key of a record, as travels, whose value cannot be; empty where all can."""
    if not isinstance(record, dict):
        return "all of it"
    odd = sorted(set(record) ^ set(RECORD))
    return odd[0] if odd else next((key for key, form in RECORD.items() if not form(record[key])), "")


def is_list_of_detections(value: Any) -> bool:
    """Whether it is what an agent says of images: boxes, scores, labels and times, each of its kind."""
    return _each(_object(DETECTED))(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) < TEXT_LIMIT and value.isprintable()


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 40


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e12  # which NaN is not


def _is_latency(value: Any) -> bool:
    return _is_number(value) and 0 < value <= LIMIT_MS


def _may_lack(form: Form) -> Form:
    return lambda value: value is None or form(value)


def _each(form: Form, count: int | None = None) -> Form:
    def fits(value: Any) -> bool:
        length = len(value) if isinstance(value, list) else -1
        return (0 <= length <= LIST_LIMIT if count is None else length == count) and all(map(form, value))

    return fits


def _object(forms: Mapping[str, Form]) -> Form:
    def fits(value: Any) -> bool:
        return isinstance(value, dict) and set(value) == set(forms) and all(forms[key](value[key]) for key in forms)

    return fits


DETECTED: Mapping[str, Form] = {
    "image": _is_count,
    "boxes_xyxy": _each(_each(lambda value: _is_number(value) and value >= 0, 4)),
    "scores": _each(lambda value: _is_number(value) and 0 <= value <= 1),
    "labels": _each(_is_count),
    **dict.fromkeys(("pre_ms", "infer_ms"), lambda value: _is_number(value) and 0 <= value <= LIMIT_MS),
}

_is_range = _may_lack(_each(_is_number, 2))
_is_reading = _may_lack(_is_number)

RECORD: Mapping[str, Form] = {
    **dict.fromkeys(("protocol_version", "runs"), _is_count),
    **dict.fromkeys(
        ("level", "mode", "model_sha256", "target", "lease", "measured_at", "bound", "feeds"),
        _is_text,
    ),
    **dict.fromkeys(
        ("median_ms", "mean_ms", "min_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms", "infer_ms"),
        lambda value: _is_number(value) and value >= 0,  # rounded
    ),
    "iqr_ms": lambda value: _is_number(value) and value >= 0,
    "ci95_ms": _each(_is_number, 2),
    **dict.fromkeys(("gpu_ms", "pre_ms", "total_ms"), _may_lack(_is_latency)),
    "images_sha256": _may_lack(_is_text),
    "device": _object({
        **dict.fromkeys(("cpu", "runtime", "system"), _is_text),
        **dict.fromkeys(("governor", "power_mode"), _may_lack(_is_text)),
        **dict.fromkeys(("cores", "threads"), _is_count),
        "load_average": _is_number,
        "clocks_locked": _is_truth,
    }),
    "warm_up": _each(_object({"runs": _is_count, "converged": _is_truth})),
    "canaries": _each(_object({"before_ms": _is_latency, "after_ms": _is_latency, "drift": _is_number})),
    "conditions": _each(_object({
        **dict.fromkeys(("start_c", "end_c"), _is_reading),
        **dict.fromkeys(("cpu_mhz", "gpu_mhz", "memory_mhz"), _is_range),
        "throttle": _may_lack(_each(_is_text)),
        "samples": _is_count,
    })),
    "energy": _may_lack(_object({
        **dict.fromkeys(("gross_mj", "seconds"), _is_number),
        **dict.fromkeys(("net_mj", "idle_mw"), _is_reading),
        "frames": _is_count,
    })),
    "memory_mib": _may_lack(lambda value: _is_number(value) and value > 0),
    "flags": _each(_is_text),
    "windows_ms": _each(_each(_is_latency)),
}  # fmt: skip
