"""The table of combinations that are known not to work."""

from __future__ import annotations

import pytest

from deploy.builders.known_bad import KNOWN_BAD, find_known_bad, parse_version

INT8_TOPK = frozenset(("int8", "topk"))
NOTHING: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("tensorrt", "cuda", "machine", "holds", "refused"),
    [
        ("10.2.0", "12.5", "x86_64", NOTHING, True),
        ("10.2.0.post1", "12.5", "x86_64", NOTHING, True),
        ("10.1.0", "12.4", "x86_64", NOTHING, False),
        ("10.3.0", "12.6", "aarch64", NOTHING, False),
        ("10.3.0", "12.6", "aarch64", INT8_TOPK, True),
        ("10.3.0", "12.6", "aarch64", frozenset(("int8", "nms")), True),
        ("10.3.0", "12.6", "aarch64", frozenset(("int8",)), False),
        ("10.3.0", "12.6", "aarch64", frozenset(("fp16", "topk", "nms")), False),
        ("10.7.0", "12.6", "aarch64", INT8_TOPK, False),
        ("10.13.3", "13.0", "aarch64", NOTHING, True),
        ("10.13.3", "13.0", "x86_64", NOTHING, False),
        ("10.13.3", "12.9", "aarch64", NOTHING, False),
        ("10.15.1", "13.0", "aarch64", NOTHING, False),
        ("11.4.0", "13.2", "aarch64", INT8_TOPK, False),
        ("8.6.1", "12.2", "aarch64", INT8_TOPK, False),
    ],
)
def test_a_combination_is_refused_where_users_reported_it(
    tensorrt: str, cuda: str, machine: str, holds: frozenset[str], refused: bool
) -> None:
    assert (find_known_bad(tensorrt, cuda, holds, machine) is not None) == refused


def test_every_entry_says_why_what_to_do_and_who_reported_it() -> None:
    assert all(entry.reason and entry.advice and entry.source and entry.first < entry.before for entry in KNOWN_BAD)


def test_versions_are_compared_as_numbers() -> None:
    assert parse_version("10.13.3.9") == (10, 13, 3, 9) > parse_version("10.3.0")
    assert parse_version("of the future") == ()
