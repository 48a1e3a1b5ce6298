"""What people write for a duration, a size of images, a latency, a size of a file; and what is refused."""

from __future__ import annotations

import pytest

from optimizer.errors import InputError
from optimizer.quantities import parse_bytes, parse_duration, parse_milliseconds, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("20m", 1200), ("2h", 7200), ("1h30m", 5400), ("45", 45), ("1.5m", 90), (" 2h ", 7200)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0", "5 minutes", "m", "1m2h"])
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InputError, match="90s, 20m, 2h or 1h30m"):
        parse_duration(text)


def test_sizes() -> None:
    assert parse_size("1333x800") == (1333, 800) and parse_size(" 640X480 ") == (640, 480)
    for text in ("640", "640x", "axb", "640x480x3", "-1x5"):
        with pytest.raises(InputError, match="WIDTHxHEIGHT"):
            parse_size(text)


@pytest.mark.parametrize(("text", "milliseconds"), [("33ms", 33), ("33", 33), (" 12.5 ms", 12.5), (".5s", 500)])
def test_latencies(text: str, milliseconds: float) -> None:
    assert parse_milliseconds(text) == milliseconds


@pytest.mark.parametrize("text", ["", "fast", "0", "0ms", "-3ms", "33us", "nan", "inf", "1e3", "30 fps"])
def test_what_is_no_latency_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InputError, match=r"33ms or 0\.5s"):
        parse_milliseconds(text)


@pytest.mark.parametrize(
    ("text", "count"), [("20MB", 20 * 10**6), ("500kb", 500_000), ("1.5 GB", 1_500_000_000), ("20MiB", 20 * 2**20)]
)
def test_sizes_of_files(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "20", "0MB", "-1MB", "20 parameters", "small", "MB", "0.0000001kB"])
def test_what_is_no_size_of_a_file_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InputError, match="20MB or 500kB"):
        parse_bytes(text)
