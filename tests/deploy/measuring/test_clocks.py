"""Locking clocks, with a script in the place of jetson_clocks that keeps a diary; this machine is not changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import ModelSource, measure_models
from deploy.errors import InputError, MeasurementError
from deploy.measuring.clocks import COOL_DOWN_S, check_clocks, cool_down, hold_clocks
from deploy.measuring.request import Setup
from deploy.sensors import Reading


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, and root as the user."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("deploy.measuring.clocks.STORE", tmp_path / "clocks.conf")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return folder


@pytest.fixture
def diary(bare_machine: Path, tmp_path: Path) -> Path:
    """A machine with jetson_clocks: a line is written for each call, and `--store` writes the file."""
    path = tmp_path / "diary"
    program = bare_machine / "jetson_clocks"
    program.write_text(f'#!/bin/sh\necho "$1" >> {path}\n[ "$1" = --store ] && echo old > "$2"\nexit ${{STATUS:-0}}\n')
    program.chmod(0o755)
    return path


def test_clocks_are_stored_locked_and_restored(diary: Path, tmp_path: Path) -> None:
    with hold_clocks("require") as clocks:
        assert clocks.locked and clocks.note is None
        assert diary.read_text() == "--store\n\n"
    assert diary.read_text() == "--store\n\n--restore\n"
    assert not (tmp_path / "clocks.conf").exists()


def test_they_are_restored_after_an_error_too(diary: Path) -> None:
    with pytest.raises(KeyError), hold_clocks("auto"):
        raise KeyError
    assert diary.read_text().endswith("--restore\n")


def test_what_a_killed_measurement_left_is_restored_first_and_not_overwritten(diary: Path, tmp_path: Path) -> None:
    (tmp_path / "clocks.conf").write_text("what was there before")
    with hold_clocks("auto"):
        assert diary.read_text() == "--restore\n--store\n\n"


def test_never_touches_nothing(diary: Path) -> None:
    with hold_clocks("never") as clocks:
        assert not clocks.locked and clocks.note is None
    assert not diary.exists()


def test_auto_without_the_tool_has_nothing_to_say(bare_machine: Path) -> None:
    with hold_clocks("auto") as clocks:
        assert not clocks.locked and clocks.note is None


def test_auto_on_a_jetson_without_root_says_that_nothing_is_locked(
    diary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with hold_clocks("auto") as clocks:
        assert not clocks.locked and clocks.note is not None and "needs root" in clocks.note
    assert not diary.exists()


def test_a_tool_that_fails_is_no_measurement(diary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATUS", "3")
    with pytest.raises(MeasurementError, match=r"jetson_clocks --store .* ended with 3"), hold_clocks("require"):
        pytest.fail("nothing is measured")


def test_required_clocks_are_refused_before_any_work_without_root(
    diary: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    reports: list[str] = []
    required = Setup(lock_clocks="require")
    with pytest.raises(InputError, match=r'lock_clocks = "require".*needs root'):
        measure_models({"tiny": ModelSource(tiny_model)}, protocol="quick", setup=required, report=reports.append)
    assert not reports and not diary.exists()


@pytest.mark.parametrize(("policy", "words"), [("require", "no jetson_clocks"), ("always", "one of auto, never")])
def test_what_cannot_be_done_or_is_no_policy_is_refused(bare_machine: Path, policy: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_clocks(policy)


def cool(temperatures: list[float | None], start_c: float | None) -> tuple[float, list[str]]:
    """Seconds slept and lines reported while a device shows these temperatures, the last of them for ever."""
    slept, lines, shown = [0.0], [], iter([*temperatures[:-1], *[temperatures[-1]] * 100])

    def sleep(seconds: float) -> None:
        slept[0] += seconds

    cool_down(start_c, False, lines.append, lambda gpu: Reading(next(shown)), sleep)
    return slept[0], lines


def test_cooling_ends_five_degrees_above_the_start() -> None:
    seconds, lines = cool([70, 60, 45.0], start_c=40)
    assert seconds == 2 and lines[0] == "cooling down: 70 C, 40 at the start"


def test_cooling_ends_after_its_time_and_does_not_wait_for_what_cannot_be_read() -> None:
    assert cool([90], start_c=40)[0] == COOL_DOWN_S == 30
    assert cool([90], start_c=None)[0] == cool([None], start_c=40)[0] == 0
