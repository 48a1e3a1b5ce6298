"""A target is a file; a wrong one is one clear line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import Bundle, LatencyRecord, Subject, TargetSpec, get_target
from deploy.errors import InputError
from deploy.protocols import MODES
from deploy.targets import TARGETS


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_known_target_is_named_as_it_is_listed(name: str) -> None:
    assert get_target(name).spec.name == name


def test_the_cpu_works_from_here() -> None:
    lines = get_target("cpu").check()
    assert lines[0] == "target cpu: works" and any("onnxruntime" in line for line in lines)
    assert lines[-1].startswith("sensors: ")


@pytest.mark.parametrize("name", ["jetson", "tensorrt", "cuda", ""])
def test_an_unknown_target_says_what_there_is(name: str) -> None:
    with pytest.raises(InputError, match=f"unknown target '{name}'; there are: cpu; .*TOML"):
        get_target(name)


def test_a_file_describes_a_target(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\nthreads = 1\nprecisions = ["fp32"]\n')
    assert get_target(str(tmp_path / "mine.toml")).spec == TargetSpec("mine", threads=1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it has no name"),
        ("name = ", "no TOML"),
        ('name = "x"\nspeed = 3', "unknown: speed"),
        ("name = 3", "no name"),
        ('name = "x"\nthreads = 0', "threads is a positive"),
        ('name = "x"\nthreads = true', "threads is a positive"),
        ('name = "x"\nprecisions = []', "precisions is a list"),
        ('name = "x"\nnms = 1', "nms is a text"),
        ('name = "x"\nmode = "fast"', "mode is one of sustained, burst, not 'fast'"),
        ('name = "x"\nlock_clocks = true', "lock_clocks is one of auto, never, require, not True"),
        ('name = "x"\nlink = "ssh"', "the link 'ssh'; this release has: local"),
        ('name = "x"\nengine = "abacus"', "the engine 'abacus'; this release has: ort, trt"),
        ('name = "x"\nnms = "fast"', "the nms 'fast'; this release has: matrix, op"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        get_target(str(path))
    assert "\n" not in str(caught.value)


def test_a_target_is_measured_in_its_mode_and_with_its_clocks(
    tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nthreads = 1\nmode = "burst"\nlock_clocks = "auto"\n')
    monkeypatch.setitem(MODES, "burst", 0.001)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # no jetson_clocks: nothing to lock, nothing to say
    subjects = {"tiny": Subject.of(tiny_bundle)}
    record = get_target(str(path)).measure(subjects, level="quick")["tiny"]
    assert isinstance(record, LatencyRecord) and record.mode == "burst" and not record.device.clocks_locked
    path.write_text('name = "mine"\nlock_clocks = "require"\n')
    with pytest.raises(InputError, match="no jetson_clocks"):
        get_target(str(path)).measure(subjects, level="quick")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.toml cannot be read"):
        get_target(str(tmp_path / "absent.toml"))


def test_a_target_measures_and_detects(
    tmp_path: Path, tiny_bundle: Bundle, write_image: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\nthreads = 1\n')
    target = get_target(str(tmp_path / "mine.toml"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    record = target.measure({"tiny": Subject.of(tiny_bundle)}, level="quick")["tiny"]
    assert record.target == "mine"
    image = write_image()
    assert [(path, len(found)) for path, found, _ in target.detect(tiny_bundle, [image])] == [(image, 2)]
